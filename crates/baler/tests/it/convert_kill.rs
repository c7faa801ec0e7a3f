//! `convert` under `kill -9` at random instants while partitions are built anew: readers see whole builds alone, and in the
//! end every partition holds every record of its sources once.

use std::collections::BTreeMap;

use crate::bench::Bench;
use crate::killer::Killer;

/// How often the binary must have been killed while it ran.
const KILLS: u32 = 60;

const FLOW: &str = r#"
version = 1
[stores]
lake = "./data"
[flows.days]
do = "convert"
from = "lake:in/{day:%Y-%m-%d}_{n:int}.jsonl"
schema = { columns = { id = "int64", pad = "text" } }
to = [
  { path = "lake:month/{partition:%Y-%m}.csv.gz", partition = "month" },
  { path = "lake:day/{partition:%Y-%m-%d}.parquet", partition = "day" },
]
"#;

/// The ids of a month, as its object holds them.
fn ids(bench: &Bench, month: &str) -> Vec<u64> {
    use std::io::Read;
    let path = bench.path(&format!("data/month/{month}.csv.gz"));
    let Ok(bytes) = std::fs::read(path) else { return Vec::new() };
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("an output is whole");
    assert!(text.ends_with('\n') && text.starts_with("id,pad\n"), "{month} is cut");
    text.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn kill_9_while_partitions_are_built_anew_loses_and_doubles_nothing() {
    let bench = Bench::new(FLOW);
    // What each month held at the end of each round, and the latest records of each object.
    let mut latest: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut next = 0u64;
    let mut killer = Killer::new(KILLS);
    while let Some(round) = killer.next_round() {
        let before: BTreeMap<&str, Vec<u64>> = ["2026-01", "2026-02"].map(|month| (month, ids(&bench, month))).into();
        for _ in 0..1 + killer.random.below(3) {
            let (month, day, n) = (1 + killer.random.below(2), 1 + killer.random.below(3), killer.random.below(3));
            let name = format!("2026-{month:02}-{day:02}_{n}");
            let lines = 1 + killer.random.below(300);
            let records: Vec<u64> = (0..lines)
                .map(|_| {
                    next += 1;
                    next
                })
                .collect();
            let text: String = records.iter().map(|id| format!("{{\"id\":{id},\"pad\":\"{id:040}\"}}\n")).collect();
            // In one step, as a writer of objects would.
            bench.write("data/.part", text);
            std::fs::create_dir_all(bench.path("data/in")).unwrap();
            std::fs::rename(bench.path("data/.part"), bench.path(&format!("data/in/{name}.jsonl"))).unwrap();
            latest.insert(name, records);
        }
        let after: BTreeMap<&str, Vec<u64>> = ["2026-01", "2026-02"]
            .map(|month| {
                let of = latest.iter().filter(|(name, _)| name.starts_with(month));
                (month, of.flat_map(|(_, records)| records.clone()).collect())
            })
            .into();
        let whole = |when: &str| {
            for (month, seen) in ["2026-01", "2026-02"].map(|month| (month, ids(&bench, month))) {
                let fits = seen == before[month] || seen == after[month];
                assert!(fits, "round {round}, {when}: {month} holds {} records", seen.len());
            }
        };
        for _ in 0..4 {
            let was_running = killer.kill(&mut bench.command(&["run", "-q"]));
            whole("killed");
            if !was_running {
                break;
            }
        }
        let done = killer.undisturbed(|| bench.baler(&["run"]));
        assert_eq!(done.code, 0, "round {round}: {done:?}");
        for (month, expected) in &after {
            assert_eq!(ids(&bench, month), *expected, "round {round}: {month}");
        }
    }
    let done = bench.baler(&["verify", &bench.last_run()]);
    assert_eq!(done.code, 0, "{done:?}");
}
