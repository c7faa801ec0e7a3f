//! What bad input is told, word for word: tables of inputs, and beside them (`bad_input/*.txt`) what is said of each.
//!
//! A file has one line per case: the input, ` => `, what was said, and behind ` // ` its hint. A change of a message
//! shows up as a changed line, to be read as its user would. `BALER_BLESS=1` writes the files anew.

use std::fmt::Write as _;
use std::path::Path;

use baler_model::config::RawConfig;
use baler_model::{ByteSize, Condition, Key, OrderBy, Pattern, Span, Template};

/// Says a message and its hint.
fn said(message: impl std::fmt::Display, hint: Option<&str>) -> String {
    match hint {
        Some(hint) => format!("{message} // {hint}"),
        None => message.to_string(),
    }
}

/// Compares a table with what its file says; every case is to be refused, or answered as its line says.
fn check(table: &str, least: usize, inputs: &[&str], answer: impl Fn(&str) -> String) {
    let mut text = String::new();
    for input in inputs {
        let shown =
            if input.len() > 80 { format!("{}… ({} bytes)", &input[..40], input.len()) } else { (*input).into() };
        let long = answer(input).replace(input, &shown);
        writeln!(text, "{:?} => {}", shown, long.replace('\n', " | ")).unwrap();
    }
    assert!(inputs.len() >= least, "{table} has {} cases, {least} are counted on", inputs.len());
    let mut sorted = inputs.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), inputs.len(), "{table} has a case twice");
    let file = Path::new("tests/it/bad_input").join(format!("{table}.txt"));
    if std::env::var_os("BALER_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    for (is, wanted) in text.lines().zip(expected.lines()) {
        assert_eq!(is, wanted, "{table}");
    }
    assert_eq!(text.lines().count(), expected.lines().count(), "{table}");
}

fn refused<T>(result: Result<T, baler_model::SyntaxError>) -> String {
    match result {
        Ok(_) => "TAKEN".to_owned(),
        Err(e) => said(format!("{}: {}", e.offset, e.message), e.hint.as_deref()),
    }
}

const PATTERNS: [&str; 56] = [
    "",
    "{",
    "}",
    "{}",
    "{ }",
    "{a",
    "a}",
    "{a}}",
    "{{a}",
    "{a b}",
    "{a-b}",
    "{a/b}",
    "{ä}",
    "{a:}",
    "{a:int",
    "{a:Int}",
    "{a:integer}",
    "{a:number}",
    "{a:epch}",
    "{a:date}",
    "{a:%}",
    "{a:%Q}",
    "{a:%Y-%m-%}",
    "{a:%Y%}",
    "{a:%H}",
    "{a:%m-%d}",
    "{a:%d}",
    "{a:%y-%m-%d}",
    "{a:/}",
    "{a:/x}",
    "{a:/(/}",
    "{a:/[/}",
    "{a:/*/}",
    "{a:/a{2,1}/}",
    "{1}",
    "{1a}",
    "{a.first}",
    "{a.b}",
    "{.a}",
    "{today}",
    "{now}",
    "{run}",
    "{count}",
    "{index}",
    "{yesterday}",
    "{manifest}",
    "{manifest.}",
    "{manifest.sorce}",
    "{manifest.source:int}",
    "{a:int}{a:epoch}",
    "{a:%Y}/{a:%m}",
    "{a:x}",
    "{a:08}",
    "{a:*}",
    "{:int}",
    "{a:%Y-%m-%d}/{a:int}",
];

#[test]
fn patterns() {
    check("patterns", 56, &PATTERNS, |text| refused(Pattern::parse(text)));
    let names: String = (0..25).map(|n| format!("{{n{n}}}/")).collect();
    let error = Pattern::parse(&names).unwrap_err();
    assert_eq!(error.message, "a pattern may have 24 names at most");
}

const FROM: &str = "raw/{day:%Y-%m-%d}/{topic}_{n:int}.jsonl";

const TEMPLATES: [&str; 46] = [
    "",
    "{",
    "}",
    "{}",
    "{day",
    "day}",
    "{day}}",
    "a*",
    "**",
    "{da}",
    "{dya}",
    "{tpoic}",
    "{x}",
    "{day.frist}",
    "{day.first.last}",
    "{n.mean}",
    "{n.}",
    "{.first}",
    "{day:}",
    "{day:%}",
    "{day:%Q}",
    "{day:08}",
    "{day:int}",
    "{topic:%Y}",
    "{topic:epoch}",
    "{topic:08}",
    "{n:%Y}",
    "{n:epoch}",
    "{n:8}",
    "{n:039}",
    "{n:0}",
    "{n:00}",
    "{n:x}",
    "{n:int}",
    "{count:x}",
    "{count.first}",
    "{index:%Y}",
    "{run:x}",
    "{today:x}",
    "{now:08}",
    "{now.first}",
    "{packet}",
    "{model}",
    "{dir}",
    "{manifest.x}",
    "{manifest.target:int}",
];

#[test]
fn templates() {
    let from = Pattern::parse(FROM).unwrap();
    check("templates", 46, &TEMPLATES, |text| refused(Template::parse(text, &from)));
}

const CONDITIONS: [&str; 44] = [
    "",
    " ",
    "day",
    "day <",
    "< today",
    "day = today",
    "day => today",
    "day ! today",
    "day <> today",
    "day < today < now",
    "day < tody",
    "dya < today",
    "x == 1",
    "day == 1",
    "day < 2021",
    "day < \"2021-01-01\"",
    "day < 2021-13-01",
    "day < 2021-02-30",
    "day < 2021-1-1",
    "day < 01.02.2021",
    "day < today - 3",
    "day < today - 3x",
    "day < today + d",
    "day < today -",
    "n < today",
    "n == \"3\"",
    "n < 1.5",
    "n < -1",
    "n < 1e3",
    "n == 999999999999999999999999999999999999999999",
    "topic < 3",
    "topic == audit",
    "topic == 'audit",
    "topic == \"audit",
    "topic < today",
    "topic == 2021-01-01",
    "1 == 1",
    "today < now",
    "\"a\" == \"a\"",
    "n + 1 < 3",
    "topic - 1d == \"a\"",
    "n < n2",
    "day < now - 2 hours",
    "day in today",
];

#[test]
fn conditions() {
    let from = Pattern::parse(FROM).unwrap();
    check("conditions", 44, &CONDITIONS, |text| refused(Condition::parse(text, &from)));
}

const ORDERS: [&str; 8] = ["", " ", "N", "m", "dya", "n desc", "-n", "today"];

#[test]
fn orders() {
    let from = Pattern::parse(FROM).unwrap();
    check("orders", 8, &ORDERS, |text| refused(OrderBy::parse([text], &from)));
}

const SIZES: [&str; 34] = [
    "",
    " ",
    "MiB",
    "-1",
    "+1",
    "1 2",
    "1,000",
    "1_000",
    "1.5",
    "0.3MiB",
    "1.",
    ".5GiB",
    "1.5.2GiB",
    "1e6",
    "0x10",
    "64M",
    "64Mi",
    "64mb/s",
    "64 MiBs",
    "64PiB",
    "ten",
    "∞",
    "1GiB2",
    "1 GiB 2",
    "18446744073709551616",
    "18446744073709551615KiB",
    "16777216TiB",
    "99999999999999999999TiB",
    "1.0000000001GiB",
    "0.1B",
    "½GiB",
    "1GiB\n",
    "1\tGiB",
    "NaN",
];

#[test]
fn sizes() {
    check("sizes", 34, &SIZES, |text| match text.parse::<ByteSize>() {
        Ok(size) => format!("TAKEN as {} bytes", size.bytes()),
        Err(e) => said(&e, e.hint()),
    });
}

const SPANS: [&str; 28] = [
    "",
    " ",
    "5",
    "0",
    "-5m",
    "+5m",
    "5 minutes",
    "5min",
    "5mn",
    "5M",
    "5y",
    "5us",
    "m",
    "1.5h",
    "1h 30m",
    "30m1h",
    "1h1h",
    "1d2w",
    "1m1ms1s",
    "1h30",
    "1e3s",
    "∞",
    "PT5M",
    "99999999999999999999s",
    "18446744073709551615w",
    "5m ",
    "five",
    "1:30",
];

#[test]
fn spans() {
    check("spans", 28, &SPANS, |text| match text.parse::<Span>() {
        Ok(span) => format!("TAKEN as {:?}", span.duration()),
        Err(e) => said(&e, e.hint()),
    });
}

#[test]
fn keys() {
    let long = "k".repeat(1025);
    let wide = "ü".repeat(513);
    let most = "k".repeat(1024);
    let inputs: [&str; 12] = ["", "\0", "a\0b", &long, &wide, &most, "a//b", "../a", "/", " ", "a%2Fb", "\u{feff}a"];
    check("keys", 12, &inputs, |text| match Key::try_new(text) {
        Ok(key) => format!("TAKEN as {} bytes", key.as_str().len()),
        Err(e) => e.to_string(),
    });
}

const MISMATCHES: [&str; 36] = [
    "",
    "r",
    "raw",
    "raw/",
    "Raw/2021-01-01/a_1.jsonl",
    "raw/2021-01-01",
    "raw/2021-01-01/",
    "raw/2021-01-01/a",
    "raw/2021-01-01/a_",
    "raw/2021-01-01/a_1",
    "raw/2021-01-01/a_1.json",
    "raw/2021-01-01/a_1.jsonl.gz",
    "raw/2021-01-01/a_1.jsonl/",
    "raw/2021-01-01/a_x.jsonl",
    "raw/2021-01-01/_1.jsonl",
    "raw/2021-01-01/a_-1.jsonl",
    "raw/2021-01-01/a_1.5.jsonl",
    "raw/2021-02-30/a_1.jsonl",
    "raw/2021-13-01/a_1.jsonl",
    "raw/2021-1-1/a_1.jsonl",
    "raw/21-01-01/a_1.jsonl",
    "raw/2021-01-01T00/a_1.jsonl",
    "raw/2021/01/01/a_1.jsonl",
    "raw//a_1.jsonl",
    "/raw/2021-01-01/a_1.jsonl",
    "raw/2021-01-01//a_1.jsonl",
    "raw/2021-01-01/b/a_1.jsonl",
    "raw/2021-01-01/.a_1.jsonl",
    "raw/2021-01-01/_a_1.jsonl",
    "raw/2021-01-01/a_1.JSONL",
    "raw/2021-01-01/a_1.jsonl ",
    " raw/2021-01-01/a_1.jsonl",
    "raw/2021-01-01/a_١.jsonl",
    "raw%2F2021-01-01/a_1.jsonl",
    "raw/2021-00-10/a_1.jsonl",
    "raw/0000-01-01/a_1.jsonl",
];

#[test]
fn keys_that_do_not_match() {
    let from = Pattern::parse(FROM).unwrap();
    check("mismatches", 36, &MISMATCHES, |key| match from.explain(key) {
        Some(mismatch) => mismatch.to_string(),
        None => "TAKEN".into(),
    });
}

/// Lines of a flow that replace or follow those of [`FLOW`]; a line `key = …` replaces that key.
const FLOWS: [&str; 62] = [
    "do = \"combin\"",
    "do = \"extract\"",
    "do = 1",
    "do = \"\"",
    "from = \"\"",
    "from = \"raw/{n}\"",
    "from = \"lkae:raw/{n}\"",
    "from = \"lake:\"",
    "from = 5",
    "from = \"lake:/raw/{n}\"",
    "from = \"lake:raw/../x/{n}\"",
    "from = \"gs://b/{n}\"",
    "from = \"s3://\"",
    "from = \"s3:///{n}\"",
    "from = \"ftp://b/{n}\"",
    "from = \"lake:{\"",
    "from = [\"lake:a\"]",
    "to = \"\"",
    "to = \"out/{n}\"",
    "to = \"lake:raw/{day:%Y-%m-%d}/{topic}_{n}.jsonl\"",
    "to = \"lake:\"",
    "to = \"lake:{x}\"",
    "to = \"lake:out/*.jsonl\"",
    "to = \"lake:_baler/x\"",
    "to = \"lake:out/../x\"",
    "form = \"lake:x\"",
    "batch = 5",
    "batch = { max_object = 5 }",
    "batch = { max_objects = 0 }",
    "batch = { max_objects = -1 }",
    "batch = { max_objects = \"5\" }",
    "batch = { max_objects = 1.5 }",
    "batch = { max_bytes = 0 }",
    "batch = { max_bytes = \"5XB\" }",
    "batch = { max_bytes = \"6TiB\" }",
    "batch = { min_objects = 0 }",
    "batch = { min_objects = 5, max_objects = 3 }",
    "batch = { settle = 5 }",
    "batch = { settle = \"5\" }",
    "batch = { settle = \"-5m\" }",
    "order_by = \"n\"",
    "order_by = [\"m\"]",
    "order_by = [1]",
    "where = \"day < today\"",
    "where = [\"day\"]",
    "where = [\"x < 1\"]",
    "overwrite = \"yes\"",
    "overwrite = 1",
    "separator = \"tab\"",
    "header = true",
    "header = \"last\"",
    "check = \"parse\"",
    "sources = \"delete\"",
    "sources = { after_commit = \"remove\" }",
    "sources = { after_commit = \"archive\" }",
    "sources = { archive_to = \"lake:old\" }",
    "sources = { after_commit = \"delete\", delay = \"soon\" }",
    "sources = { after_commit = \"archive\", archive_to = \"lake:raw/2021-01-01\" }",
    "on = { cron = \"* * *\" }",
    "on = { cron = \"61 * * * *\" }",
    "on = { every = \"0s\" }",
    "on = { events = \"sqs:q\" }",
];

fn config(text: &str) -> String {
    let checked = RawConfig::parse(text, "baler.toml", &|_| None, &[]).and_then(|raw| raw.validate("/etc/etl"));
    match checked {
        Ok(_) => "TAKEN".to_owned(),
        Err(e) => e.to_string(),
    }
}

#[test]
fn flows() {
    check("flows", 62, &FLOWS, |line| {
        let key = line.split(" = ").next().unwrap();
        let plain = [
            ("do", "do = \"combine\"".to_owned()),
            ("from", format!("from = \"lake:{FROM}\"")),
            ("to", "to = \"lake:out/{topic}.jsonl\"".to_owned()),
        ];
        let mut lines: Vec<String> = plain.into_iter().filter(|(known, _)| *known != key).map(|(_, l)| l).collect();
        lines.push(line.to_owned());
        config(&format!(
            "version = 1\nstores.lake = \"s3://bucket\"\nstate = \"lake:_baler\"\n[flows.f]\n{}\n",
            lines.join("\n")
        ))
    });
}

const CONVERSIONS: [&str; 56] = [
    "separator = \"none\"",
    "header = \"first\"",
    "check = \"decode\"",
    "redshift_manifest = true",
    "content_type = \"text/csv\"",
    "on = { manifests = \"lake:watch\" }",
    "format = \"cvs\"",
    "format = { csv = { delimiter = \"ab\" } }",
    "format = { csv = { delimiter = \"\\n\" } }",
    "format = { csv = { delimiter = \"'\", quote = \"'\" } }",
    "format = { csv = { comma = \";\" } }",
    "format = 5",
    "records = \"\"",
    "records = \"a..b\"",
    "schema = {}",
    "schema = { infer = false }",
    "schema = { columns = { a = 5 } }",
    "schema = { s3db = \"lake:{collection}/METADATA.json\" }",
    "schema = { s3db = \"METADATA.json\" }",
    "schema = { s3db = \"lake:METADATA.json\", infer = true }",
    "schema = { colums = {} }",
    "schema = \"infer\"",
    "time = \"topic\"",
    "covers = \"week\"",
    "partition = \"dya\"",
    "partition = \"day\"",
    "partition = \"country\"",
    "partition = [\"day\", \"month\"]",
    "partition = \"\"",
    "partition = 5",
    "compression = \"zip\"",
    "compression = { codec = \"zstd\", lvl = 3 }",
    "compression = { level = 3 }",
    "compression = \"gzip\"",
    "on_drift = \"ignore\"",
    "max_quarantined = \"101%\"",
    "max_quarantined = \"few\"",
    "max_quarantined = -1",
    "quarantine = \"\"",
    "quarantine = \"lake:bad\"",
    "quarantine = \"bad/{n}\"",
    "quarantine = \"a/../b\"",
    "max_expansion = 0",
    "provenance = { file = \"x\" }",
    "to = \"lake:out/{topic}\"",
    "to = \"lake:out/{topic}.csv/\"",
    "to = \"lake:out/{topic}_{n.first}.csv\"",
    "to = \"lake:out/{now}.csv\"",
    "to = \"lake:out/{partition:%Y}.csv\"",
    "to = []",
    "to = { format = \"csv\" }",
    "to = { path = \"lake:out/{partition}.csv\", partition = \"day\" }",
    "to = { layout = \"hiev\", prefix = \"lake:out\", partition = \"day\" }",
    "to = { layout = \"hive\", prefix = \"lake:out\" }",
    "to = [{ path = \"lake:out/{topic}.csv\" }, { path = \"lake:out/{topic}.csv\" }]",
    "sources = { after_commit = \"delete\" }",
];

#[test]
fn conversions() {
    check("conversions", 56, &CONVERSIONS, |line| {
        let key = line.split(" = ").next().unwrap();
        let plain =
            [("from", format!("from = \"lake:{FROM}\"")), ("to", "to = \"lake:out/{topic}.parquet\"".to_owned())];
        let mut lines: Vec<String> = plain.into_iter().filter(|(known, _)| *known != key).map(|(_, l)| l).collect();
        lines.push(line.to_owned());
        config(&format!(
            "version = 1\nstores.lake = \"s3://bucket\"\nstate = \"lake:_baler\"\n[flows.f]\ndo = \"convert\"\n{}\n",
            lines.join("\n")
        ))
    });
}

const FILES: [&str; 34] = [
    "",
    "version",
    "version = 2",
    "version = \"1\"",
    "version = 1.0",
    "version = 1\nversion = 1",
    "vresion = 1",
    "version = 1\nstate = 5",
    "version = 1\nstate = \"\"",
    "version = 1\nstate = \"lake:x\"",
    "version = 1\nstate = \"x\"",
    "version = 1\nstate = \"./x/{a}\"",
    "version = 1\nstores = 5",
    "version = 1\nstores.lake = 5",
    "version = 1\nstores.lake = \"\"",
    "version = 1\nstores.lake = \"bucket\"",
    "version = 1\nstores.lake = \"s3://\"",
    "version = 1\nstores.lake = \"S3://b\"",
    "version = 1\nstores.lake = \"gs://b\"",
    "version = 1\nstores.lake = \"http://h/b\"",
    "version = 1\nstores.1 = \"s3://b\"",
    "version = 1\nstores.s3 = \"s3://b\"",
    "version = 1\nstores.\"a b\" = \"s3://b\"",
    "version = 1\nstores.lake = {}",
    "version = 1\nstores.lake = { url = \"s3://b\", regoin = \"x\" }",
    "version = 1\nstores.lake = { url = \"s3://b\", endpoint = \"h:9000\" }",
    "version = 1\nstores.lake = { url = \"./x\", region = \"x\" }",
    "version = 1\nstores.lake = { url = \"s3://b\", single_host = true }",
    "version = 1\nstores.lake = { url = \"s3://b\", requests_per_second = 0 }",
    "version = 1\nstores.lake = \"s3://${BUCKET}\"",
    "version = 1\nstores.lake = \"s3://${\"",
    "version = 1\nstores.lake = \"s3://${1}\"",
    "version = 1\nconnections.x = {}",
    "version = 1\nflows.f = {}",
];

#[test]
fn files() {
    check("files", 34, &FILES, config);
}

#[test]
fn three_hundred_cases_at_least_are_on_file() {
    let folder = Path::new("tests/it/bad_input");
    let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let cases: usize = files.map(|text| text.lines().count()).sum();
    assert!(cases >= 300, "{cases} cases");
}
