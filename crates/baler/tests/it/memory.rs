//! What `convert` and `scatter` hold of inputs that are several times as large as the memory it is given.
//!
//! The binary is the one that tests have: with checks that a release lacks, so that it takes rather more. What it took at
//! most is what the kernel says of it while it runs.

use std::fs;
use std::time::Instant;

use baler_format::codec::Codec;
use baler_testkit::SplitMix;

use crate::bench::Bench;
use crate::records::{COLUMNAR, compressed, converted};

/// What no flow may hold. Units: bytes.
const MOST: u64 = 400_000_000;
/// Decoded, a flow reads so much at least. Units: bytes.
const READ: u64 = 600_000_000;
/// What `--memory` says.
const MEMORY: &str = "64MiB";
/// The same for a thousand partitions, whose files take their time: less is read, with less memory.
const FEW: (u64, u64, &str) = (300_000_000, 320_000_000, "64MiB");

const COLUMNS: &str = "schema = { columns = { id = \"int64\", part = \"int64\", name = \"text\", pad = \"text\" } }";

/// Letters that no codec makes much smaller than half, a record's worth at a time.
struct Pads {
    letters: Vec<u8>,
    random: SplitMix,
}

impl Pads {
    fn new() -> Self {
        let mut random = SplitMix::new(7);
        let letters = (0..1 << 20).flat_map(|_| random.next_u64().to_le_bytes().map(|byte| b'a' + byte % 26));
        Self { letters: letters.take(1 << 20).collect(), random: SplitMix::new(8) }
    }

    /// Some eight hundred letters that stand nowhere else in this order.
    fn next(&mut self) -> &str {
        let from = usize::try_from(self.random.below((1 << 20) - 1_000)).unwrap();
        std::str::from_utf8(&self.letters[from..from + 800]).unwrap()
    }
}

fn csv(bytes: usize) -> String {
    let mut pads = Pads::new();
    let mut text = "id,part,name,pad\n".to_owned();
    for id in 0u64.. {
        if text.len() >= bytes {
            break;
        }
        text += &format!("{id},{},name {},{}\n", id % 1_000, id % 97, pads.next());
    }
    text
}

fn json_lines(bytes: usize) -> String {
    let mut pads = Pads::new();
    let mut text = String::new();
    for id in 0u64.. {
        if text.len() >= bytes {
            break;
        }
        let (part, name) = (id % 1_000, id % 97);
        text += &format!("{{\"id\":{id},\"part\":{part},\"name\":\"name {name}\",\"pad\":\"{}\"}}\n", pads.next());
    }
    text
}

/// Runs a flow over as many copies of an object as it takes; each key comes from its number.
fn holds(flow: &str, body: &[u8], decoded: usize, records: usize, key: impl Fn(u64) -> String) -> Bench {
    holds_within((MOST, READ, MEMORY), flow, body, decoded, records, key)
}

fn holds_within(
    (allowed, read, memory): (u64, u64, &str),
    flow: &str,
    body: &[u8],
    decoded: usize,
    records: usize,
    key: impl Fn(u64) -> String,
) -> Bench {
    let bench = Bench::new(&format!(
        "version = 1\n[stores]\nlake = \"./data\"\n[flows.f]\ndo = \"convert\"\n{flow}\n{COLUMNS}\n"
    ));
    let copies = read.div_ceil(decoded as u64);
    bench.write("one", body);
    for number in 0..copies {
        let path = bench.path(&format!("data/{}", key(number)));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::hard_link(bench.path("one"), path).unwrap();
    }
    let began = Instant::now();
    let (done, most) = bench.baler_watched(&["run", "--format", "json", "--memory", memory]);
    println!("{} MB read, {} MB held, {:.1?}", copies * decoded as u64 / 1_000_000, most / 1_000_000, began.elapsed());
    assert_eq!(done.code, 0, "{done:?}");
    let account = &done.json()["account"];
    assert_eq!(account["records_out"].as_u64(), Some(copies * records as u64), "{done:?}");
    assert!(most <= allowed, "{most} bytes held, {allowed} are allowed");
    bench
}

#[test]
fn days_of_compressed_csv_into_a_month_of_parquet() {
    let text = csv(40 << 20);
    let body = compressed(Codec::Gzip, text.as_bytes());
    let flow = "from = \"lake:in/{day:%Y-%m-%d}.csv.gz\"\n\
                to = { path = \"lake:out/{partition:%Y-%m}.parquet\", partition = \"month\" }";
    let key = |day: u64| format!("in/2024-01-{:02}.csv.gz", day + 1);
    let bench = holds(flow, &body, text.len(), text.lines().count() - 1, key);
    assert_eq!(bench.files("data/out"), ["2024-01.parquet"]);
}

#[test]
fn json_lines_into_parquet_with_zstd() {
    let text = json_lines(60 << 20);
    let flow = "from = \"lake:in/{n:int}.jsonl\"\nto = { path = \"lake:out/all.parquet\", compression = \"zstd\" }";
    let bench = holds(flow, text.as_bytes(), text.len(), text.lines().count(), |n| format!("in/{n}.jsonl"));
    assert_eq!(bench.files("data/out"), ["all.parquet"]);
}

#[test]
fn a_thousand_partitions_told_apart_by_a_column() {
    let text = json_lines(60 << 20);
    let flow = "from = \"lake:in/{n:int}.jsonl\"\n\
                to = { path = \"lake:out/part={part}/x.parquet\", partition = \"part\" }";
    let bench = holds_within(FEW, flow, text.as_bytes(), text.len(), text.lines().count(), |n| format!("in/{n}.jsonl"));
    assert_eq!(bench.files("data/out").len(), 1_000);
}

#[test]
fn a_year_of_small_objects_in_one_partition() {
    let text = csv(4 << 20);
    let body = compressed(Codec::Gzip, text.as_bytes());
    let flow = "from = \"lake:in/{day:%Y-%m-%d}.csv.gz\"\n\
                to = { path = \"lake:out/{partition:%Y}.parquet\", partition = \"year\" }";
    let key = |n: u64| format!("in/2024-{:02}-{:02}.csv.gz", n / 28 + 1, n % 28 + 1);
    let bench = holds(flow, &body, text.len(), text.lines().count() - 1, key);
    assert_eq!(bench.files("data/out"), ["2024.parquet"]);
}

/// Where columns are inferred, large objects that state them are not read for it.
#[test]
fn columns_of_large_objects_are_learnt_from_a_few_of_their_bytes() {
    use std::io::{Seek, SeekFrom, Write};
    const SIZE: u64 = 600 << 20;
    for (suffix, format) in COLUMNAR {
        let whole = converted("{\"id\":1,\"name\":\"a\"}\n", "id: int64, name: text", &format, 1);
        let bench = Bench::new(&format!(
            "version = 1\n[stores]\nlake = \"./data\"\n[flows.f]\ndo = \"convert\"\nfrom = \"lake:in/{{n:int}}.{suffix}\"\n\
             to = \"lake:out/all.jsonl\"\n"
        ));
        bench.write(&format!("data/in/1.{suffix}"), "");
        let mut file = fs::File::create(bench.path(&format!("data/in/1.{suffix}"))).unwrap();
        // Columns stand at the end of Parquet, and at the beginning of Arrow; between is a hole.
        if suffix == "parquet" {
            file.write_all(&whole[..4]).unwrap();
            file.seek(SeekFrom::Start(SIZE)).unwrap();
            file.write_all(&whole[4..]).unwrap();
        } else {
            file.write_all(&whole).unwrap();
            file.set_len(SIZE).unwrap();
        }
        let (done, most) = bench.baler_watched(&["plan", "--memory", "64MiB"]);
        assert_eq!(done.code, 0, "{suffix}: {done:?}");
        assert!(done.stdout.contains("would convert 1 object"), "{suffix}: {done:?}");
        assert!(most < 150_000_000, "{suffix}: {most} bytes held");
    }
}

#[test]
fn a_batch_that_is_thirty_times_as_large_takes_not_half_as_much_memory_more() {
    use std::io::Write;
    let text = json_lines(10 << 20);
    let mut peaks = Vec::new();
    for copies in [1, 30] {
        let bench = Bench::new(
            "version = 1\n[stores]\nlake = \"./data\"\n[flows.f]\ndo = \"scatter\"\nfrom = \"lake:in/{batch}.jsonl\"\n\
             split = { chunk = 1000 }\nto = \"lake:out/{batch}.jsonl.gz\"\n",
        );
        bench.write("data/in/b.jsonl", "");
        let mut object = fs::File::create(bench.path("data/in/b.jsonl")).unwrap();
        (0..copies).for_each(|_| object.write_all(text.as_bytes()).unwrap());
        drop(object);
        let (done, most) = bench.baler_watched(&["run", "--format", "json", "--memory", MEMORY]);
        assert_eq!(done.code, 0, "{done:?}");
        let records = copies * text.lines().count() as u64;
        assert_eq!(done.json()["account"]["records_out"].as_u64(), Some(records), "{done:?}");
        peaks.push(most);
    }
    println!("{} MB, then {} MB held", peaks[0] / 1_000_000, peaks[1] / 1_000_000);
    // Of 10 MB not all buffers are in use at a time.
    assert!(peaks[1] <= peaks[0] * 3 / 2 && peaks[1] <= 150_000_000, "{peaks:?}");
}
