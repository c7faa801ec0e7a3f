//! `convert` from the command line: what is said, what is made, how it ends.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::bench::Bench;

const FEEDS: &str = r#"
version = 1
[stores]
lake = "./data"
[flows.feeds]
do = "convert"
from = "lake:in/{day:%Y-%m-%d}.jsonl"
schema = { columns = { id = "int64", name = "text" } }
provenance = { key = "_key", line = "_line" }
to = { path = "lake:out/{partition:%Y-%m}.csv", partition = "month" }
"#;

fn filled() -> Bench {
    let bench = Bench::new(FEEDS);
    bench.write("data/in/2026-01-01.jsonl", "{\"id\":1,\"name\":\"a\"}\n{\"id\":\"x\"}\n");
    bench.write("data/in/2026-01-02.jsonl", "{\"id\":2}\n{\"id\":3}\n");
    bench
}

#[test]
fn records_that_are_set_aside_are_told_shown_and_resubmitted() {
    let bench = filled();
    let done = bench.baler(&["plan"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("would convert 2 objects"), "{done:?}");
    let done = bench.baler(&["preview", "feeds", "--limit", "1"]);
    assert_eq!(done.stdout, "{\"id\":1,\"name\":\"a\",\"_key\":\"in/2026-01-01.jsonl\",\"_line\":1}\n", "{done:?}");
    assert!(done.stderr.contains("columns (declared): id: int64, name: text"), "{done:?}");

    let done = bench.baler(&["run"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.stdout.contains("4 → 3"), "{done:?}");
    assert!(done.stderr.contains("next: 1 record set aside, `baler quarantine feeds` shows why"), "{done:?}");
    let csv = "id,name,_key,_line\n1,a,in/2026-01-01.jsonl,1\n2,,in/2026-01-02.jsonl,1\n3,,in/2026-01-02.jsonl,2\n";
    assert_eq!(bench.read("data/out/2026-01.csv"), csv);

    let done = bench.baler(&["quarantine", "feeds"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.starts_with("feeds: 1 record set aside, of 1 object\n"), "{done:?}");
    assert!(done.stdout.contains("in/2026-01-01.jsonl:2: column `id`"), "{done:?}");
    // The object is corrected: its partition is built anew, and what was set aside of it counts no more.
    let first = bench.last_run();
    bench.write("data/in/2026-01-01.jsonl", "{\"id\":1,\"name\":\"a\"}\n{\"id\":9}\n");
    let done = bench.baler(&["quarantine", "feeds", "--resubmit"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(bench.read("data/out/2026-01.csv").contains("9,,in/2026-01-01.jsonl,2\n"));
    let done = bench.baler(&["verify", &first]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("was built anew by a later run"), "{done:?}");
    assert_eq!(bench.baler(&["verify", &bench.last_run()]).code, 0);
    let done = bench.baler(&["quarantine", "feeds"]);
    assert_eq!(done.stdout, "feeds: nothing is set aside\n", "{done:?}");
}

#[test]
fn a_corrected_flow_takes_what_it_set_aside_before() {
    let bench = filled();
    assert_eq!(bench.baler(&["run", "-q"]).code, 3);
    assert!(bench.baler(&["run"]).stdout.contains("nothing to do"));
    bench.write(
        "baler.toml",
        FEEDS.replace("id = \"int64\"", "id = \"text\"").replace("from =", "max_quarantined = \"100%\"\nfrom ="),
    );
    let done = bench.baler(&["quarantine", "feeds", "--resubmit", "--format", "json"]);
    let report: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("{e}: {done:?}"));
    // Numbers are no text: now those are set aside, and the one that was text is taken.
    assert_eq!(report["account"]["records_in"], 4, "{done:?}");
}

#[test]
fn a_past_range_is_converted_again_on_request() {
    let bench = filled();
    assert_eq!(bench.baler(&["run", "-q"]).code, 3);
    let before = bench.read("data/out/2026-01.csv");
    bench.write("baler.toml", FEEDS.replace("provenance = { key = \"_key\", line = \"_line\" }\n", ""));
    let done = bench.baler(&["backfill", "feeds", "--from", "2026-01-02", "--to", "2026-01-03"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(before.starts_with("id,name,_key,_line\n"));
    assert_eq!(bench.read("data/out/2026-01.csv"), "id,name\n1,a\n2,\n3,\n");
    let done = bench.baler(&["backfill", "feeds", "--from", "2027-01-01", "--to", "2027-01-02"]);
    assert!(done.stdout.contains("nothing to do"), "{done:?}");
    let done = bench.baler(&["backfill", "feeds", "--from", "2026-01-02", "--to", "2026-01-02"]);
    assert_eq!(done.code, 2, "{done:?}");
    let done = bench.baler(&["show", "feeds"]);
    assert!(done.stdout.contains("columns  id: int64, name: text (declared)"), "{done:?}");
    // Bytes of records that were decoded and encoded again do not balance: records do.
    let done = bench.baler(&["show", &bench.last_run()]);
    assert!(done.stdout.contains("4 records in = 3 out + 1 set aside + 0 left out\n"), "{done:?}");
    assert!(done.stdout.contains(" bytes out, 2 objects → "), "{done:?}");
}

#[test]
fn a_source_that_is_gone_is_let_go_of_on_request() {
    let bench = filled();
    assert_eq!(bench.baler(&["run", "-q"]).code, 3);
    std::fs::remove_file(bench.path("data/in/2026-01-02.jsonl")).unwrap();
    bench.write("data/in/2026-01-03.jsonl", "{\"id\":4}\n");
    let done = bench.baler(&["run"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(
        done.stderr.contains("`in/2026-01-02.jsonl`, of which `out/2026-01.csv` was made, is no longer there"),
        "{done:?}"
    );
    assert!(done.stderr.contains("--drop-missing"), "{done:?}");
    let done = bench.baler(&["run", "--drop-missing", "-q"]);
    assert_eq!(done.code, 3, "{done:?}");
    let csv = bench.read("data/out/2026-01.csv");
    assert_eq!(csv.lines().map(|line| &line[..1]).collect::<Vec<_>>(), ["i", "1", "4"]);
}

#[test]
fn tables_for_athena_and_glue_are_printed() {
    let bench = Bench::new(&FEEDS.replace(
        "to = { path = \"lake:out/{partition:%Y-%m}.csv\", partition = \"month\" }",
        "to = [{ layout = \"hive\", prefix = \"lake:hive\", partition = \"day\" }, { path = \"lake:m/month={partition:%Y-%m}/x.jsonl.gz\", partition = \"month\" }, { path = \"lake:a/{partition:%Y}.arrow\", partition = \"year\" }]",
    ));
    bench.write("data/in/2026-01-01.jsonl", "{\"id\":1,\"name\":\"a\"}\n");
    let done = bench.baler(&["ddl", "feeds"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.stderr.contains("--location s3://bucket/prefix"), "{done:?}");
    let done = bench.baler(&["ddl", "feeds", "--location", "s3://lake/x", "--database", "db"]);
    assert_eq!(done.code, 0, "{done:?}");
    for part in [
        "CREATE EXTERNAL TABLE `db`.`feeds_parquet_day` (",
        "LOCATION 's3://lake/x/hive/'",
        "'projection.year.range' = '2026,2100'",
        "'storage.location.template' = 's3://lake/x/hive/year=${year}/month=${month}/day=${day}/'",
        "CREATE EXTERNAL TABLE `db`.`feeds_jsonl_month` (",
        "'projection.month.format' = 'yyyy-MM'",
        "'projection.month.range' = '2026-01,NOW'",
    ] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
    assert!(done.stderr.contains("left out: `a/{partition:%Y}.arrow`"), "{done:?}");
    assert_eq!(bench.baler(&["run", "-q"]).code, 0);
    let glue = bench.baler(&["ddl", "feeds", "--location", "s3://lake/x", "--glue"]).json();
    assert_eq!(glue[0]["Name"], "feeds_parquet_day");
    assert_eq!(glue[1]["PartitionKeys"][0]["Name"], "month");
}

/// Every format with every codec that goes with it.
fn kinds() -> Vec<(&'static str, &'static str)> {
    const CODECS: [&str; 7] = ["none", "gzip", "zstd", "brotli", "bzip2", "lz4", "snappy"];
    let mut kinds = Vec::new();
    for format in ["jsonl", "json", "csv", "parquet", "arrow", "arrow-file"] {
        kinds.extend(
            CODECS.iter().filter(|codec| (format, **codec) != ("parquet", "bzip2")).map(|codec| (format, *codec)),
        );
    }
    kinds
}

/// Day files of three days around the end of a year: each hour that has records has two, one of them with nulls.
fn days(bench: &Bench) {
    for (day, date) in [(1_735_516_800u64, "2024-12-30"), (1_735_603_200, "2024-12-31"), (1_735_689_600, "2025-01-01")]
    {
        let mut text = "at,id,price,amount,flag,name,day\n".to_owned();
        for hour in [0u64, 1, 23] {
            let at = day + hour * 3_600 + 59;
            text += &format!("{at},{at},1.5,12.30,true,\"a, \"\"b\"\" ü\",{date}\n{},,,,,,\n", at + 1);
        }
        bench.write(&format!("data/in/set/{day}.csv"), text);
    }
}

/// A Python that has pyarrow and cramjam.
fn pyarrow() -> Option<std::ffi::OsString> {
    let python = std::env::var_os("BALER_TEST_PYARROW");
    if python.is_none() {
        assert!(std::env::var_os("CI").is_none(), "set `BALER_TEST_PYARROW` to a Python that has pyarrow and cramjam");
        eprintln!("skipped: `BALER_TEST_PYARROW` does not name a Python that has pyarrow and cramjam");
    }
    python
}

#[test]
fn every_format_and_codec_in_every_size_and_layout_is_read_back_by_pyarrow() {
    let Some(python) = pyarrow() else { return };
    const SIZES: [&str; 4] = ["hour", "day", "month", "year"];
    let mut by_codec: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (format, codec) in kinds() {
        by_codec.entry(codec).or_default().push(format);
    }
    for (codec, formats) in by_codec {
        let mut config = "version = 1\n[stores]\nlake = \"./data\"\n[flows.all]\ndo = \"convert\"\ntime = \"at\"\ncovers = \"day\"\n\
            from = \"lake:in/{set}/{start:epoch}.csv\"\n[flows.all.schema]\ncolumns = { at = \"int64 not null\", id = \"int64\", \
            price = \"float64\", amount = \"decimal(9,2)\", flag = \"bool\", name = \"text\", day = \"date\" }\n"
            .to_owned();
        for format in &formats {
            for size in SIZES {
                for layout in ["hive", "athena", "dataclient"] {
                    config += &format!(
                        "[[flows.all.to]]\nlayout = \"{layout}\"\nprefix = \"lake:out/{format}/{size}/{layout}\"\n\
                         partition = \"{size}\"\nformat = \"{format}\"\ncompression = \"{codec}\"\n"
                    );
                }
            }
        }
        let bench = Bench::new(&config);
        days(&bench);
        let done = bench.baler(&["run", "--format", "json"]);
        assert_eq!(done.code, 0, "{codec}: {done:?}");
        let report: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(report["account"]["records_in"], 18, "{codec}");
        let script = "tests/it/read_back.py";
        let data = bench.path("data");
        let read = Command::new(&python).arg(script).arg(data).args([codec, &formats.join(",")]).output().unwrap();
        let (said, faults) = (String::from_utf8_lossy(&read.stdout), String::from_utf8_lossy(&read.stderr));
        assert!(read.status.success(), "{codec}: {said}{faults}");
        // 9 hours, 3 days, 2 months, 2 years, in three layouts each.
        let expected = formats.len() * 3 * (9 + 3 + 2 + 2);
        assert_eq!(said.trim(), format!("{expected} objects"), "{codec}: {faults}");
    }
}

#[test]
fn every_format_and_codec_that_others_write_is_taken() {
    let Some(python) = pyarrow() else { return };
    let bench = Bench::new(
        "version = 1\n[stores]\nlake = \"./data\"\n[flows.all]\ndo = \"convert\"\nfrom = \"lake:in/{name}\"\n\
         records = \"a.records\"\nto = \"lake:out/{name}.jsonl\"\n[flows.all.schema]\n\
         columns = { id = \"int64\", price = \"float64\", amount = \"decimal(9,2)\", flag = \"bool\", name = \"text\", \
         day = \"date\", at = \"timestamp(ms, UTC)\" }\n",
    );
    let script = "tests/it/write_for.py";
    let written = Command::new(&python).arg(script).arg(bench.path("data/in")).output().unwrap();
    let (said, faults) = (String::from_utf8_lossy(&written.stdout), String::from_utf8_lossy(&written.stderr));
    assert!(written.status.success(), "{said}{faults}");
    let count: usize = said.trim().parse().unwrap();
    // Five formats with seven codecs, and Parquet with its own six.
    assert_eq!(count, 5 * 7 + 6);
    let done = bench.baler(&["run", "--format", "json"]);
    assert_eq!(done.code, 0, "{done:?}");
    let rows = "{\"id\":1,\"price\":1.5,\"amount\":\"12.30\",\"flag\":true,\"name\":\"a, \\\"b\\\" ü🦀\",\"day\":\"2024-02-29\",\"at\":\"2024-12-31T23:59:59.123Z\"}\n\
                {\"id\":2,\"name\":\"x\\ny\"}\n{\"id\":-9223372036854775808,\"price\":5e-324,\"amount\":\"-9999999.99\",\"flag\":false,\"name\":\"z\",\"day\":\"1969-12-31\",\"at\":\"1969-12-31T23:59:59.999Z\"}\n";
    let files = bench.files("data/out");
    assert_eq!(files.len(), count);
    for file in files {
        assert_eq!(bench.read(&format!("data/out/{file}")), rows, "{file}");
    }
}
