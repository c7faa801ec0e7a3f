//! Table definitions against Glue's interface as others know it: the AWS SDK for Python checks the form, moto keeps the table.
//!
//! `BALER_TEST_MOTO` names moto's executable `moto_server`, beside which stands its Python. Unset, the test says that it was
//! skipped; in CI it fails.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use baler_engine::op::convert::ddl::{Partition, PartitionKind, Table, TimeUnit, glue, java_pattern};
use baler_format::codec::Codec;
use baler_format::schema::Schema;
use baler_format::{Csv, Format};
use serde_json::Value;

/// Creates every table that stands on its input, and prints what Glue then says about each.
const CREATE: &str = r#"
import boto3, json, sys
from moto import mock_aws
with mock_aws():
    glue = boto3.client("glue", region_name="eu-west-2", aws_access_key_id="x", aws_secret_access_key="x")
    glue.create_database(DatabaseInput={"Name": "analytics"})
    tables = []
    for table in json.load(sys.stdin):
        glue.create_table(DatabaseName="analytics", TableInput=table)
        tables.append(glue.get_table(DatabaseName="analytics", Name=table["Name"])["Table"])
    print(json.dumps(tables, default=str))
"#;

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn create(tables: &[Value]) -> Option<Vec<Value>> {
    let Ok(server) = std::env::var("BALER_TEST_MOTO") else {
        assert!(std::env::var_os("CI").is_none(), "set `BALER_TEST_MOTO` to the executable `moto_server`");
        eprintln!("skipped: `BALER_TEST_MOTO` does not name the executable `moto_server`");
        return None;
    };
    let python = Path::new(&server).with_file_name("python");
    let mut process = Command::new(python)
        .args(["-c", CREATE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(serde_json::to_string(tables).unwrap().as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn glue_takes_every_definition_as_it_is() {
    let plain =
        "id: int64, price: float64, ok: bool, name: text, amount: decimal(12,2), day: date, at: timestamp(ms, UTC)";
    let nested = format!("{plain}, \"userName\": text, tags: list(text), who: struct(date: date, n: list(int64))");
    let (plain, nested): (Schema, Schema) = (plain.parse().unwrap(), nested.parse().unwrap());
    let formats = [Format::Parquet, Format::JsonLines, Format::Csv(Csv::default())];
    let kinds = [
        PartitionKind::Time {
            unit: TimeUnit::Month,
            pattern: java_pattern("%Y-%m").unwrap(),
            first: "2021-06".to_owned(),
        },
        PartitionKind::Int { least: 1, greatest: 12, step: 1, digits: 2 },
        PartitionKind::Choice(vec!["eu".to_owned(), "us".to_owned()]),
        PartitionKind::Text,
    ];
    let mut tables = Vec::new();
    for format in &formats {
        for kind in &kinds {
            tables.push(
                glue(&Table {
                    database: "analytics",
                    name: &format!("table_{}", tables.len()),
                    columns: if matches!(format, Format::Csv(_)) { &plain } else { &nested },
                    partitions: vec![Partition { name: "part".to_owned(), kind: kind.clone() }],
                    location: "s3://lake/feeds/".to_owned(),
                    template: Some("s3://lake/feeds/part=${part}/".to_owned()),
                    format,
                    codec: Codec::Gzip,
                })
                .unwrap(),
            );
        }
    }
    let Some(created) = create(&tables) else { return };
    assert_eq!(created.len(), 12);
    for (asked, kept) in tables.iter().zip(&created) {
        for (key, value) in asked.as_object().unwrap() {
            assert_eq!(kept[key], *value, "{key} of {}", asked["Name"]);
        }
    }
}
