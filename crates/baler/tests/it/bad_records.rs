//! What bad input gets from `convert`: the rows of the design's section 8 that concern records, in every format and codec
//! where they make sense. Each case says exactly what is taken and what is set aside where and why, or how its group fails;
//! in each the account balances, nothing panics, and memory stays within a bound.

use std::fmt::Write as _;

use baler_format::codec::Codec;
use baler_format::{Format, Ipc};
use serde_json::Value;

use crate::bench::{Bench, Done};
use crate::records::{COLUMNAR, codecs, compressed, converted, csv_lines, name};

/// The most memory that any case may take, with `--memory 64MiB`. Units: bytes.
const MOST: u64 = 320 << 20;

/// The columns of most cases.
const COLUMNS: &str = "schema = { columns = { id = \"int64\", name = \"text\" } }";
/// A sound object in the group of every case, which is taken whatever becomes of the other.
const SOUND: (&str, &str) = ("z.jsonl", "{\"id\":100,\"name\":\"z\"}\n");
/// What becomes of it.
const SOUND_ROW: &str = "{\"id\":100,\"name\":\"z\"}";

/// What an object gets.
enum Gets {
    /// Rows as they come out, then what is set aside: the line or row (or nothing), and a part of the reason.
    Taken(Vec<String>, Vec<(Option<u64>, String)>),
    /// Its group fails: a part of the error, and of the hint.
    Failed(&'static str, &'static str),
}

struct Case {
    name: String,
    /// Further lines of the flow; [`COLUMNS`] where none speaks of a schema.
    flow: String,
    objects: Vec<(String, Vec<u8>)>,
    gets: Gets,
}

fn taken(rows: &[&str], aside: &[(u64, &str)]) -> Gets {
    let aside = aside.iter().map(|(line, reason)| ((*line > 0).then_some(*line), (*reason).to_owned())).collect();
    Gets::Taken(rows.iter().map(|row| (*row).to_owned()).collect(), aside)
}

fn case(name: impl Into<String>, key: &str, body: impl AsRef<[u8]>, gets: Gets) -> Case {
    let flow = COLUMNS.to_owned();
    Case { name: name.into(), flow, objects: vec![(key.to_owned(), body.as_ref().to_vec())], gets }
}

impl Case {
    fn flow(mut self, flow: &str) -> Self {
        flow.clone_into(&mut self.flow);
        self
    }

    fn more(mut self, flow: &str) -> Self {
        write!(self.flow, "\n{flow}").unwrap();
        self
    }
}

/// Runs every case and tells all that fail.
fn hold(cases: Vec<Case>) {
    let mut failed = String::new();
    let count = cases.len();
    for case in cases {
        let name = case.name.clone();
        if let Err(what) = holds(case) {
            writeln!(failed, "--- {name}: {what}").unwrap();
        }
    }
    assert!(failed.is_empty(), "of {count} cases:\n{failed}");
}

macro_rules! ensure {
    ($holds:expr, $($words:tt)*) => {
        if !$holds {
            return Err(format!($($words)*));
        }
    };
}

fn holds(case: Case) -> Result<(), String> {
    let Case { flow, objects, gets, .. } = case;
    let bench = Bench::new(&format!(
        "version = 1\n[stores]\nlake = \"./data\"\n[flows.bad]\ndo = \"convert\"\nfrom = \"lake:in/{{name}}\"\n\
         max_quarantined = \"100%\"\nto = \"lake:out/all.jsonl\"\n{flow}\n"
    ));
    for (key, body) in &objects {
        bench.write(&format!("data/in/{key}"), body);
    }
    let (done, most) = bench.baler_watched(&["run", "--format", "json", "--memory", "64MiB"]);
    ensure!(most <= MOST, "{} MiB of memory", most >> 20);
    let report = done.stdout.lines().next().and_then(|line| serde_json::from_str::<Value>(line).ok());
    let Some(report) = report else { return Err(format!("no report: {done:?}")) };
    match gets {
        Gets::Failed(error, hint) => {
            ensure!(done.code == 1, "exit {}: {done:?}", done.code);
            let failure = &report["failures"][0];
            let said = |what: &str, part: &str| failure[what].as_str().unwrap_or_default().contains(part);
            ensure!(said("error", error) && said("hint", hint), "{failure:#}");
            ensure!(!bench.exists("data/out/all.jsonl"), "something of a failed group is there");
            Ok(())
        }
        Gets::Taken(rows, aside) => holds_taken(&bench, &done, &report, &rows, &aside),
    }
}

fn holds_taken(
    bench: &Bench,
    done: &Done,
    report: &Value,
    rows: &[String],
    aside: &[(Option<u64>, String)],
) -> Result<(), String> {
    ensure!(done.code == if aside.is_empty() { 0 } else { 3 }, "exit {}: {done:?}", done.code);
    let found = bench.read("data/out/all.jsonl");
    let found: Vec<&str> = found.lines().collect();
    ensure!(found == rows, "rows {found:#?}\ninstead of {rows:#?}");
    let files = bench.files("data/_quarantine");
    let lines: Vec<Value> = files
        .iter()
        .flat_map(|file| bench.read(&format!("data/_quarantine/{file}")).lines().map(str::to_owned).collect::<Vec<_>>())
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    let is_same = lines.len() == aside.len()
        && lines.iter().zip(aside).all(|(line, (place, reason))| {
            line["line"].as_u64().or(line["row"].as_u64()) == *place
                && line["reason"].as_str().unwrap().contains(reason.as_str())
        });
    ensure!(is_same, "set aside {lines:#?}\ninstead of {aside:#?}");
    balances(report, found.len() as u64, aside.len() as u64)
}

/// Every record that was read was written, set aside or left out, as the report and the objects say.
fn balances(report: &Value, rows: u64, aside: u64) -> Result<(), String> {
    let account = &report["account"];
    let count = |name: &str| account[name].as_u64().unwrap_or(u64::MAX);
    ensure!(
        (count("records_out"), count("quarantined"), count("filtered")) == (rows, aside, 0),
        "{rows} rows and {aside} set aside: {account:#}"
    );
    ensure!(count("records_in") == rows + aside, "the account does not balance: {account:#}");
    let written: u64 = report["outputs"].as_array().unwrap().iter().map(|o| o["records"].as_u64().unwrap_or(0)).sum();
    ensure!(written >= rows, "{report:#}");
    Ok(())
}

/// Adds the sound object to each case.
fn beside_a_sound_object(cases: Vec<Case>) -> Vec<Case> {
    let add = |mut case: Case| {
        case.objects.push((SOUND.0.to_owned(), SOUND.1.into()));
        if let Gets::Taken(rows, _) = &mut case.gets {
            rows.push(SOUND_ROW.to_owned());
        }
        case
    };
    cases.into_iter().map(add).collect()
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[test]
fn bad_json_lines() {
    let one = "{\"id\":1}";
    let long = format!("{{\"id\":1}}\n{{\"id\":2,\"name\":\"{}\"}}\n{{\"id\":3}}\n", "x".repeat(100 << 20));
    let utf16: Vec<u8> = "{\"id\":1}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let at = "schema = { columns = { id = \"int64\", name = \"text\", at = \"timestamp(s, UTC)\", x = \"float64\" } }";
    let cases = vec![
        case("half a last line", "a.jsonl", "{\"id\":1}\n{\"id\":2,\"na", taken(&[one], &[(2, "not JSON")])),
        case("no line end at the end", "a.jsonl", "{\"id\":1}", taken(&[one], &[])),
        case(
            "not UTF-8",
            "a.jsonl",
            b"{\"id\":1}\n{\"id\":2,\"name\":\"\xff\"}\n{\"id\":3}\n",
            taken(&[one, "{\"id\":3}"], &[(2, "not UTF-8 at byte 16")]),
        ),
        case("UTF-16", "a.jsonl", [b"\xff\xfe", &utf16[..]].concat(), taken(&[], &[(1, "not UTF-8"), (2, "not JSON")])),
        case(
            "nested 100 deep where the schema has no column",
            "a.jsonl",
            format!("{{\"id\":1,\"deep\":{}}}\n", nested(100)),
            taken(&[one], &[]),
        ),
        case(
            "nested 10,000 deep where the schema has no column",
            "a.jsonl",
            format!("{{\"id\":1,\"deep\":{}}}\n", nested(10_000)),
            taken(&[one], &[]),
        ),
        case(
            "nested 10,000 deep in a column",
            "a.jsonl",
            format!("{{\"id\":1,\"name\":{}}}\n", nested(10_000)),
            taken(&[], &[(1, "column `name`: text is wanted")]),
        ),
        case(
            "10,000 brackets that never close",
            "a.jsonl",
            format!("{{\"id\":1,\"deep\":{}\n{{\"id\":1}}\n", "[".repeat(10_000)),
            taken(&[one], &[(1, "not JSON")]),
        ),
        case("a line of 100 MB", "a.jsonl", long, taken(&[one, "{\"id\":3}"], &[(2, "longer than 16777216 bytes")])),
        case(
            "a key twice",
            "a.jsonl",
            "{\"id\":1,\"id\":1}\n{\"id\":1,\"i\\u0064\":2}\n{\"id\":1}\n",
            taken(&[one], &[(1, "the key `id` stands twice"), (2, "the key `id` stands twice")]),
        ),
        case(
            "integers of 64 bits and beyond",
            "a.jsonl",
            "{\"id\":9223372036854775807}\n{\"id\":9223372036854775808}\n{\"id\":-9223372036854775809}\n{\"id\":1e30}\n",
            taken(
                &["{\"id\":9223372036854775807}"],
                &[(2, "beyond 64 bits"), (3, "beyond 64 bits"), (4, "beyond 64 bits")],
            ),
        ),
        case(
            "what is no number in JSON",
            "a.jsonl",
            "{\"x\":NaN}\n{\"x\":Infinity}\n{\"x\":-Infinity}\n{\"x\":1e400}\n{\"x\":\"NaN\"}\n{\"x\":1.5}\n",
            taken(
                &["{\"x\":1.5}"],
                &[
                    (1, "not JSON"),
                    (2, "not JSON"),
                    (3, "not JSON"),
                    (4, "beyond 64-bit floats"),
                    (5, "a number is wanted"),
                ],
            ),
        )
        .flow(at),
        case(
            "seconds and milliseconds in one column",
            "a.jsonl",
            "{\"at\":1704067200}\n{\"at\":1704067200000}\n{\"at\":-99999999999}\n{\"at\":253402300799}\n",
            taken(
                &["{\"at\":\"2024-01-01T00:00:00Z\"}", "{\"at\":\"9999-12-31T23:59:59Z\"}"],
                &[(2, "`1704067200000` is no time of the years 0 to 9999"), (3, "years 0 to 9999")],
            ),
        )
        .flow(at),
        case(
            "a byte order mark, CR LF, blank lines",
            "a.jsonl",
            "\u{feff}{\"id\":1}\r\n\r\n  \n{\"id\":2}\r\n\n",
            taken(&[one, "{\"id\":2}"], &[]),
        ),
        case(
            "a byte order mark in the middle",
            "a.jsonl",
            "{\"id\":1}\n\u{feff}{\"id\":2}\n",
            taken(&[one], &[(2, "not JSON")]),
        ),
        case("CR alone between records", "a.jsonl", "{\"id\":1}\r{\"id\":2}\r", taken(&[], &[(1, "not JSON")])),
        case("an object of no bytes", "a.jsonl", "", taken(&[], &[])),
        case("blank lines alone", "a.jsonl", "\n\n \r\n", taken(&[], &[])),
        case(
            "NUL bytes",
            "a.jsonl",
            "{\"id\":1,\"name\":\"a\0b\"}\n\0\n{\"id\":2,\"name\":\"a\\u0000b\"}\n",
            taken(&["{\"id\":2,\"name\":\"a\\u0000b\"}"], &[(1, "not JSON"), (2, "not JSON")]),
        ),
        case(
            "no objects",
            "a.jsonl",
            "[1]\n\"x\"\n1\nnull\n{\"id\":1}\n",
            taken(
                &[one],
                &[
                    (1, "not a JSON object"),
                    (2, "not a JSON object"),
                    (3, "not a JSON object"),
                    (4, "not a JSON object"),
                ],
            ),
        ),
        case("brotli under a plain suffix", "a.jsonl", compressed(Codec::Brotli, b"{\"id\":1}\n"), {
            taken(&[], &[(1, "not UTF-8"), (2, "not JSON")])
        }),
    ];
    hold(beside_a_sound_object(cases));
}

#[test]
fn bad_csv() {
    let floats = "schema = { columns = { id = \"int64\", name = \"text\", x = \"float64\" } }";
    let needed = "schema = { columns = { id = \"int64 not null\", name = \"text\" } }";
    let (one, two) = ("{\"id\":1,\"name\":\"a\"}", "{\"id\":2,\"name\":\"b\"}");
    let long = format!("id,name\n1,a\n3,{}\n2,b\n", "x".repeat(100 << 20));
    let unclosed = format!("id,name\n1,a\n3,\"{}\n2,b\n", "x\n".repeat(50 << 20));
    let cases = vec![
        case("a header alone", "a.csv", "id,name\n", taken(&[], &[])),
        case("a header alone, without a line end", "a.csv", "id,name", taken(&[], &[])),
        case("blank lines alone", "a.csv", "\n\n", taken(&[], &[])),
        case(
            "ragged rows",
            "a.csv",
            "id,name\n1,a\n7\n8,x,y\n\n2,b\n",
            taken(&[one, two], &[(3, "1 fields instead of 2"), (4, "3 fields instead of 2")]),
        ),
        case("a quote that never closes", "a.csv", "id,name\n1,a\n3,\"b\n2,b\n", taken(&[one], &[(3, "quote")])),
        case(
            "a quote that never closes, over 100 MB",
            "a.csv",
            unclosed,
            taken(&[one], &[(3, "longer than 16777216")]),
        ),
        case("a line of 100 MB", "a.csv", long, taken(&[one, two], &[(3, "longer than 16777216 bytes")])),
        case("quotes where none belong", "a.csv", "id,name\n1,a\n3,\"b\"c\n2,b\n", taken(&[one, two], &[(3, "quote")])),
        case("half a last line", "a.csv", "id,name\n1,a\n3,\"b", taken(&[one], &[(3, "quote")])),
        case("half a last line, of too few fields", "a.csv", "id,name\n1,a\n3", taken(&[one], &[(3, "1 fields")])),
        case("NUL bytes", "a.csv", "id,name\n1,a\0\n\0,a\n", {
            taken(&["{\"id\":1,\"name\":\"a\\u0000\"}"], &[(3, "column `id`")])
        }),
        case("columns in another order", "a.csv", "name,id\na,1\nb,2\n", taken(&[one, two], &[])),
        case("a header without any of the columns", "a.csv", "id;name\n1;a\n2;b\n", {
            taken(&[], &[(0, "the header cannot be used: it has none of the columns")])
        }),
        case("a column twice", "a.csv", "id,id,name\n1,1,a\n", taken(&[], &[(0, "it has `id` twice")])),
        case("a header that lacks what may not be null", "a.csv", "name\na\n", taken(&[], &[(0, "it lacks `id`")]))
            .flow(needed),
        case("null where none may be", "a.csv", "id,name\n,a\n1,a\n", {
            taken(&[one], &[(2, "column `id`: it is null and may not be")])
        })
        .flow(needed),
        case("a byte order mark, CR LF and quotes", "a.csv", "\u{feff}\"id\",\"name\"\r\n1,a\r\n\"2\",\"b\"\r\n", {
            taken(&[one, two], &[])
        }),
        case(
            "CR alone between records",
            "a.csv",
            "id,name\r1,a\r2,b\r",
            taken(&[], &[(0, "its lines end in CR alone")]),
        ),
        case("not UTF-8", "a.csv", b"id,name\n1,a\n3,\xe4\n2,b\n", taken(&[one, two], &[(3, "not UTF-8 at byte 2")])),
        case("a header that is not UTF-8", "a.csv", b"id,n\xe4me\n1,a\n", taken(&[], &[(0, "it is not UTF-8")])),
        case(
            "integers beyond 64 bits",
            "a.csv",
            "id,name\n9223372036854775808,a\n1,a\n",
            taken(&[one], &[(2, "beyond 64 bits")]),
        ),
        case(
            "what is no number",
            "a.csv",
            "id,name,x\n1,a,NaN\n1,a,Infinity\n1,a,-inf\n1,a,1e400\n1,a,0x10\n1,a,1.5\n",
            taken(
                &["{\"id\":1,\"name\":\"a\",\"x\":1.5}"],
                &[
                    (2, "`NaN` is no number"),
                    (3, "`Infinity` is no number"),
                    (4, "`-inf` is no number"),
                    (5, "beyond 64-bit floats"),
                    (6, "`0x10` is no number"),
                ],
            ),
        )
        .flow(floats),
        case("seconds and milliseconds in one column", "a.csv", "at\n1704067200\n1704067200000\n", {
            taken(&["{\"at\":\"2024-01-01T00:00:00Z\"}"], &[(3, "years 0 to 9999")])
        })
        .flow("schema = { columns = { id = \"int64\", name = \"text\", at = \"timestamp(s, UTC)\" } }"),
    ];
    hold(beside_a_sound_object(cases));
    // Without a header columns are told by their places: those of other types are seen.
    let mut wrong = case("columns in another order, without a header", "a.csv", "a,1\n2,b\n", {
        taken(&[two], &[(1, "column `id`: `a` is no whole number")])
    });
    wrong = wrong.more("format = { csv = { header = false } }");
    hold(vec![wrong]);
}

#[test]
fn bad_json_documents() {
    let one = "{\"id\":1}";
    let at = "records = \"a.records\"";
    let long =
        format!("{{\"a\":{{\"records\":[{{\"id\":1}},{{\"name\":\"{}\"}},{{\"id\":2}}]}}}}", "x".repeat(100 << 20));
    let cases = vec![
        case("a path that is not there", "a.json", "{\"a\":{\"rows\":[{\"id\":1}]}}", {
            taken(&[], &[(0, "the document has no `records` (line 1, byte 23)")])
        }),
        case("a path that leads elsewhere", "a.json", "{\"a\":{\"records\":{\"id\":1}}}", {
            taken(&[], &[(0, "`[` is wanted behind `records`")])
        }),
        case("a document that is an array", "a.json", "[{\"id\":1}]", taken(&[], &[(0, "`{` is wanted around `a`")])),
        case("a document that is cut", "a.json", "{\"a\":{\"records\":[{\"id\":1},\n{\"id\":2},{\"id\":", {
            taken(&[one, "{\"id\":2}"], &[(2, "cut off"), (2, "the document ends within the array of records")])
        }),
        case("no objects", "a.json", "{\"a\":{\"records\":[1,{\"id\":1},null]}}", {
            taken(&[one], &[(1, "not a JSON object"), (1, "not a JSON object")])
        }),
        case("something behind the document", "a.json", "{\"a\":{\"records\":[{\"id\":1}]}}\n{}", {
            taken(&[one], &[(1, "something stands behind the document")])
        }),
        case("records twice", "a.json", "{\"a\":{\"records\":[{\"id\":1}],\"b\":1,\"records\":[{\"id\":2}]}}", {
            taken(&[one], &[(1, "the key `records` stands twice")])
        }),
        case("two documents", "a.json", "{\"a\":{\"records\":[{\"id\":1}]},\"a\":{\"records\":[{\"id\":2}]}}", {
            taken(&[one], &[(1, "the key `a` stands twice")])
        }),
        case("an element of 100 MB", "a.json", long, {
            taken(&[one, "{\"id\":2}"], &[(1, "longer than 16777216 bytes")])
        }),
        case(
            "nested 10,000 deep",
            "a.json",
            format!("{{\"deep\":{0},\"a\":{{\"records\":[{{\"id\":1,\"deep\":{0}}}]}}}}", nested(10_000)),
            taken(&[one], &[]),
        ),
        case("a byte order mark", "a.json", "\u{feff}{\"a\":{\"records\":[{\"id\":1}]}}", taken(&[one], &[])),
        case("not UTF-8", "a.json", b"{\"a\":{\"records\":[{\"id\":1},{\"name\":\"\xff\"}]}}", {
            taken(&[one], &[(1, "not UTF-8")])
        }),
    ];
    hold(beside_a_sound_object(cases.into_iter().map(|case| case.more(at)).collect()));
}

#[test]
fn objects_that_no_codec_can_read() {
    let mut cases = Vec::new();
    let codecs: Vec<Codec> = codecs().collect();
    for (n, codec) in codecs.iter().enumerate() {
        let key = format!("a.csv.{}", codec.suffix());
        let (one, text) = ("{\"id\":1,\"name\":\"a\"}", b"id,name\n1,a\n");
        cases.push(case(format!("{codec}: no bytes"), &key, "", taken(&[], &[])));
        cases.push(case(format!("{codec}: not compressed at all"), &key, text, taken(&[], &[(0, codec.name())])));
        let other = codecs[(n + 1) % codecs.len()];
        let body = compressed(other, text);
        // Brotli has no mark: by chance a few bytes of anything may come out of it.
        if *codec != Codec::Brotli {
            cases.push(case(format!("{codec}: {other} inside"), &key, body, taken(&[], &[(0, codec.name())])));
        }
        let body = [compressed(*codec, text), b"rubbish".to_vec()].concat();
        cases.push(case(
            format!("{codec}: something behind the end"),
            &key,
            body,
            match codec {
                // Its frames have no end: what follows is a broken chunk.
                Codec::Snappy => taken(&[], &[(0, "snappy")]),
                _ => taken(&[one], &[(2, "stand behind the end")]),
            },
        ));
    }
    hold(beside_a_sound_object(cases));
}

/// A compressed object that is cut gives the records before the cut, and never a part of one.
#[test]
fn compressed_objects_that_are_cut() {
    let lines = csv_lines(100_000, 103_000);
    let text = format!("id,name\n{lines}");
    let mut cut_rows = Vec::new();
    for codec in codecs() {
        let whole = compressed(codec, text.as_bytes());
        // Many places: the last record that is left is cut in all manners.
        for part in [3, 5, 7, 8, 9] {
            let bench = Bench::new(&format!(
                "version = 1\n[stores]\nlake = \"./data\"\n[flows.bad]\ndo = \"convert\"\nfrom = \"lake:in/{{name}}\"\n\
                 max_quarantined = \"100%\"\nto = \"lake:out/all.csv\"\n{COLUMNS}\n"
            ));
            let cut = whole.len() * part / 10;
            bench.write(&format!("data/in/a.csv.{}", codec.suffix()), &whole[..cut]);
            let (code, reports) = bench.run_json(&[]);
            assert_eq!(code, 3, "{codec} cut at {cut}");
            let found = bench.read("data/out/all.csv");
            let rows = found.lines().count() - 1;
            let whole_lines = lines.lines().take(rows).map(|line| format!("{line}\n")).collect::<String>();
            assert_eq!(found, format!("id,name\n{whole_lines}"), "{codec} cut at {cut}");
            let aside = reports[0]["account"]["quarantined"].as_u64().unwrap();
            balances(&reports[0], rows as u64, aside).unwrap_or_else(|what| panic!("{codec} cut at {cut}: {what}"));
            let quarantine = bench.baler(&["quarantine", "bad", "--limit", "10"]);
            assert!(quarantine.stdout.contains("cut off"), "{codec} cut at {cut}: {quarantine:?}");
            cut_rows.push((codec, rows));
        }
    }
    // Codecs without large blocks give nearly all of what is left.
    let most = |codec: Codec| cut_rows.iter().filter(|(c, _)| *c == codec).map(|(_, rows)| *rows).max().unwrap();
    for codec in [Codec::Gzip, Codec::Brotli] {
        assert!(most(codec) > 1_500, "{codec}: {cut_rows:?}");
    }
}

/// Of a member whose checksum fails nothing is taken; what stands before it is.
#[test]
fn compressed_objects_that_are_damaged() {
    let (first, second) = (csv_lines(100_000, 101_000), csv_lines(101_000, 102_000));
    let rows = |lines: &str| -> Vec<String> {
        let row = |line: &str| {
            let (id, name) = line.split_once(',').unwrap();
            format!("{{\"id\":{id},\"name\":\"{name}\"}}")
        };
        lines.lines().map(row).collect()
    };
    let mut cases = Vec::new();
    for codec in [Codec::Gzip, Codec::Zstd, Codec::Bzip2, Codec::Lz4] {
        let key = format!("a.csv.{}", codec.suffix());
        let mut broken = compressed(codec, second.as_bytes());
        let middle = broken.len() / 2;
        broken[middle] ^= 0x10;
        let flow = format!("{COLUMNS}\nformat = {{ csv = {{ header = false }} }}");
        let gets = taken(&[], &[(0, codec.name())]);
        cases.push(case(format!("{codec}: one member"), &key, &broken, gets).flow(&flow));
        let members = [compressed(codec, first.as_bytes()), broken.clone(), compressed(codec, b"1,a\n")].concat();
        let gets = Gets::Taken(rows(&first), vec![(Some(1_000), format!("{codec}, member 2"))]);
        cases.push(case(format!("{codec}: the second of three members"), &key, members, gets).flow(&flow));
        // A record that goes on in the damaged member is not taken for a whole one.
        let members = [compressed(codec, format!("{first}7,cu").as_bytes()), broken].concat();
        let aside = vec![(Some(1_001), "cut off".to_owned()), (Some(1_000), format!("{codec}, member 2"))];
        let gets = Gets::Taken(rows(&first), aside);
        cases.push(case(format!("{codec}: a record over two members"), &key, members, gets).flow(&flow));
    }
    hold(cases);
}

#[test]
fn decompression_bombs() {
    // 100 MB of text that every codec makes small, after its own fashion.
    let text = format!(
        "id,name\n{}",
        "1,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n".repeat(1_250_000)
    );
    let mut cases = Vec::new();
    for codec in codecs() {
        let body = compressed(codec, text.as_bytes());
        let ratio = text.len() / body.len();
        assert!(ratio >= 15, "{codec} makes {} of {}", body.len(), text.len());
        let key = format!("a.csv.{}", codec.suffix());
        let most = (ratio / 2).min(400);
        cases.push(
            case(format!("{codec}: {ratio} to 1"), &key, &body, {
                Gets::Failed("`in/a.csv.", "if it is sound, raise `max_expansion` of the flow")
            })
            .more(&format!("max_expansion = {most}")),
        );
        if ratio > 1_000 {
            cases.push(case(format!("{codec}: {ratio} to 1, by default"), &key, &body, {
                Gets::Failed("expands beyond 1000 times its size", "`max_expansion`")
            }));
        }
    }
    assert!(cases.len() > 7, "some codec goes beyond what is refused by default");
    hold(cases);
}

/// Compression within a format is compression, too.
#[test]
fn decompression_bombs_within_columns() {
    let schema = "schema = { columns = { id = \"int64\", name = \"text\" } }";
    let line = format!("{{\"id\":1,\"name\":\"{}\"}}\n", "a".repeat(1 << 20));
    let mut cases = Vec::new();
    for (suffix, format) in COLUMNAR {
        // Compressed as a whole: what holds the columns is as large as they are.
        let bytes = converted(&line.repeat(96), "id: int64, name: text", &format, 96);
        if matches!(format, Format::Arrow(_)) {
            let key = format!("a.{suffix}.zst");
            cases.push(
                case(format!("{suffix} in zstd"), &key, compressed(Codec::Zstd, &bytes), {
                    Gets::Failed("expands beyond 1000 times its size", "`max_expansion`")
                })
                .flow(schema),
            );
        }
    }
    assert_eq!(cases.len(), 2);
    hold(cases);
}

#[test]
fn columnar_objects_that_are_damaged() {
    let lines: String = (1..=400).map(|id| format!("{{\"id\":{id},\"name\":\"{}\"}}\n", name(id))).collect();
    let rows = |n: usize| lines.lines().take(n).map(str::to_owned).collect::<Vec<String>>();
    let mut cases = Vec::new();
    for (suffix, format) in COLUMNAR {
        let key = format!("a.{suffix}");
        let whole = converted(&lines, "id: int64, name: text", &format, 100);
        let name = if format == Format::Parquet { "parquet" } else { "arrow" };
        cases.push(case(format!("{suffix}: whole"), &key, &whole, Gets::Taken(rows(400), Vec::new())));
        cases.push(case(format!("{suffix}: text"), &key, &lines, taken(&[], &[(0, &format!("not {name}"))])));
        cases.push(case(format!("{suffix}: no bytes"), &key, "", taken(&[], &[])));
        let half = &whole[..whole.len() / 2];
        cases.push(case(
            format!("{suffix}: cut in the middle"),
            &key,
            half,
            match format {
                // It is read from its end: nothing is found.
                Format::Parquet => taken(&[], &[(0, "not parquet")]),
                // A batch of four stands before the cut; two of a file, which has a footer.
                Format::Arrow(Ipc::File) => Gets::Taken(rows(200), vec![(Some(200), "cut off".to_owned())]),
                _ => Gets::Taken(rows(100), vec![(Some(100), "cut off".to_owned())]),
            },
        ));
        if format != Format::Arrow(Ipc::Stream) {
            let mut flipped = whole.clone();
            let end = flipped.len() - 12;
            flipped[end - 20..end].iter_mut().for_each(|byte| *byte ^= 0xff);
            cases.push(case(
                format!("{suffix}: the footer is flipped"),
                &key,
                flipped,
                match format {
                    Format::Parquet => taken(&[], &[(0, "not parquet")]),
                    _ => Gets::Taken(rows(400), vec![(Some(400), "footer".to_owned())]),
                },
            ));
            let mut unmarked = whole.clone();
            *unmarked.last_mut().unwrap() = b'x';
            cases.push(case(
                format!("{suffix}: the last mark is wrong"),
                &key,
                unmarked,
                match format {
                    Format::Parquet => taken(&[], &[(0, "not parquet")]),
                    _ => Gets::Taken(rows(400), vec![(Some(400), "footer".to_owned())]),
                },
            ));
        }
        let other = converted("{\"id\":\"x\",\"name\":\"a\"}\n", "id: text, name: text", &format, 1);
        cases.push(case(format!("{suffix}: a column of another type"), &key, &other, {
            Gets::Failed("column `id` is int64, the object has", "on_drift = \"quarantine\"")
        }));
        cases.push(
            case(format!("{suffix}: a column of another type, set aside"), &key, &other, {
                taken(&[], &[(0, "column `id` is int64, the object has")])
            })
            .more("on_drift = \"quarantine\""),
        );
        let reordered = converted("{\"name\":\"a\",\"id\":1}\n", "name: text, id: int64", &format, 1);
        cases.push(case(format!("{suffix}: columns in another order"), &key, reordered, {
            taken(&["{\"id\":1,\"name\":\"a\"}"], &[])
        }));
        // Compressed as a whole, it is read from its end all the same.
        if format == Format::Parquet {
            let packed = compressed(Codec::Gzip, &whole);
            let cut = &packed[..packed.len() * 9 / 10];
            cases.push(case("parquet in gzip: cut", "a.parquet.gz", cut, taken(&[], &[(0, "cut off")])));
            cases.push(case("parquet in gzip", "a.parquet.gz", &packed, Gets::Taken(rows(400), Vec::new())));
        }
    }
    hold(beside_a_sound_object(cases));
}

/// What was inferred takes all that it was inferred from.
#[test]
fn columns_that_are_inferred_take_what_they_were_inferred_from() {
    let deep = format!("{{\"deep\":{}}}", nested(100));
    let deeper = format!("{{\"id\":1,\"deep\":{}}}", nested(10_000));
    let cases = vec![
        case(
            "several types in one column",
            "a.jsonl",
            "{\"v\":1}\n{\"v\":\"x\"}\n{\"v\":{\"a\":1}}\n{\"v\":true}\n",
            taken(&["{\"v\":\"1\"}", "{\"v\":\"x\"}", "{\"v\":\"{\\\"a\\\":1}\"}", "{\"v\":\"true\"}"], &[]),
        ),
        case("an object without members", "a.jsonl", "{\"v\":{}}\n", taken(&["{\"v\":\"{}\"}"], &[])),
        case("nested 100 deep", "a.jsonl", format!("{deep}\n"), {
            let text = format!("\"{}\"", nested(100 - 32));
            taken(&[&format!("{{\"deep\":{}{text}{}}}", "[".repeat(32), "]".repeat(32))], &[])
        }),
        case("nested 10,000 deep", "a.jsonl", format!("{deeper}\n"), {
            let text = format!("\"{}\"", nested(10_000 - 32));
            taken(&[&format!("{{\"id\":1,\"deep\":{}{text}{}}}", "[".repeat(32), "]".repeat(32))], &[])
        }),
        {
            let mut case = case("the first object is damaged", "a.jsonl.gz", b"\x1f\x8b\x08rubbish", {
                taken(&["{\"id\":1}"], &[(0, "gzip")])
            });
            case.objects.push(("b.jsonl".to_owned(), b"{\"id\":1}\n".to_vec()));
            case
        },
    ];
    hold(cases.into_iter().map(|case| case.flow("")).collect());
}
