//! PostgreSQL.

mod sessions;
#[cfg(feature = "tls")]
mod tls;
mod types;

use baler_engine::upsert::{Absent, PostgresTable, PostgresUrl, Target};
use baler_testkit::postgres::Postgres;
use proptest::strategy::ValueTree;
use tokio_postgres::{Client, NoTls};

use super::*;

async fn connect(server: &Postgres) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn target(table: &str, key: &[&str]) -> Target {
    let key = key.iter().map(|name| (*name).to_owned()).collect();
    Target { table: table.to_owned(), key, absent: Absent::Created }
}

async fn open(server: &Postgres, target: Target) -> PostgresTable {
    PostgresTable::new(connect(server).await, "items", target)
}

async fn rows(sql: &Client, table: &str) -> BTreeMap<i64, Row> {
    let columns =
        "item::bigint, price::bigint, note, extract(epoch from _baler_batch_time)::bigint, _baler_run, _baler_record";
    let rows = sql.query(&format!("SELECT {columns} FROM {table}"), &[]).await.unwrap();
    rows.iter()
        .map(|row| (row.get(0), (row.get(1), row.get(2), (row.get(3), row.get(4), row.get::<_, i64>(5) as u64))))
        .collect()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn the_newest_record_of_each_key_stays_whatever_comes_again() {
    let Some(server) = Postgres::start() else { return };
    let schema = schema();
    let mut case = 0;
    run(async {
        let sql = connect(&server).await;
        // The table's types are narrower than those of the records.
        let create = "CREATE TABLE items (item integer PRIMARY KEY, price smallint CHECK (price >= 0), note varchar(9), \
                      _baler_batch_time timestamptz, _baler_run text, _baler_record bigint)";
        sql.batch_execute(create).await.unwrap();
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        for _ in 0..120 {
            case += 1;
            let batches = batches().new_tree(&mut runner).unwrap().current();
            sql.batch_execute("TRUNCATE items").await.unwrap();
            let mut expected = BTreeMap::new();
            let mut tables =
                [open(&server, target("items", &["item"])).await, open(&server, target("items", &["item"])).await];
            for table in &mut tables {
                table.ensure_table(&schema).await.unwrap();
            }
            for (n, batch) in batches.iter().enumerate() {
                let written = write(&mut tables[n % 2], &schema, batch).await.unwrap();
                // A bad record is told, unless a good one of the batch stands in its place.
                let bad = |row: usize, record: &(u64, i64, i64)| {
                    record.2 < 0 && !batch.records[row + 1..].iter().any(|later| later.1 == record.1 && later.2 >= 0)
                };
                let told: Vec<usize> = batch
                    .records
                    .iter()
                    .enumerate()
                    .filter(|(row, record)| bad(*row, record))
                    .map(|(row, _)| row)
                    .collect();
                let refused = rows_refused(&written.refused);
                assert!(told.iter().all(|row| refused.contains(row)), "case {case}: {told:?} {refused:?} {batch:?}");
                assert!(refused.iter().all(|row| batch.records[*row].2 < 0), "case {case}");
                naive(&mut expected, batch);
            }
            assert_eq!(rows(&sql, "items").await, expected, "case {case}: {batches:?}");
        }
    });
}

#[test]
fn every_type_is_written_without_loss_into_a_table_made_for_it() {
    let Some(server) = Postgres::start() else { return };
    let text = "\"k \"\"é\": text, i: int64, f: float64, b: bool, d: decimal(38,4), e: decimal(38,38), y: date, z: timestamp(us, UTC), \
                c: timestamp(s), l: list(struct(x: int64))";
    let schema: Schema = text.replace("\"k \"\"é\"", "k").parse().unwrap();
    let json = concat!(
        r#"{"k":"é'","i":-9223372036854775808,"f":-0.1,"b":true,"d":"-1234567890123456789012345678901234.5678","e":"0.00000000000000000000000000000000000012","y":"1969-12-31","z":"1999-12-31T23:59:59.999999Z","c":"2020-01-01T00:00:00","l":[{"x":1},null]}"#,
        "\n",
        r#"{"k":"nulls"}"#,
        "\n",
        r#"{"k":"small","d":"0.0001","e":"0","y":"0001-01-01","z":"0001-01-01T00:00:00Z"}"#,
        "\n",
        r#"{"k":"ten thousand","d":"10000","e":"-0.1"}"#,
        "\n",
    );
    let source = baler_format::decode::Source::bytes(json.as_bytes().to_vec());
    let options = baler_format::decode::DecodeOptions::default();
    let mut decoder =
        baler_format::decode::Decoder::new(&baler_format::Format::JsonLines, &schema, &options, source).unwrap();
    let decoded = decoder.next_batch().unwrap().unwrap();
    assert_eq!((decoded.batch.num_rows(), decoded.rejected.len()), (4, 0), "{:?}", decoded.rejected);
    run(async {
        let mut table = open(&server, target("public.Things", &["k"])).await;
        table.ensure_table(&schema).await.unwrap();
        table.ensure_table(&schema).await.unwrap();
        let order =
            Order { batch_time: "2026-11-21T10:00:00.1234567Z".parse().unwrap(), run: RunId::try_new("r").unwrap() };
        let written = table.write(&order, &[1, 2, 3, 4], &decoded.batch).await.unwrap();
        assert_eq!(written, Written { taken: 4, refused: Vec::new() });
        let sql = connect(&server).await;
        sql.batch_execute("SET TIME ZONE 'UTC'").await.unwrap();
        let rows = sql.query("SELECT t::text FROM \"Things\" t ORDER BY _baler_record", &[]).await.unwrap();
        let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(
            rows,
            [
                r#"(é',-9223372036854775808,-0.1,t,-1234567890123456789012345678901234.5678,0.00000000000000000000000000000000000012,1969-12-31,"1999-12-31 23:59:59.999999+00","2020-01-01 00:00:00","[{""x"": 1}, null]","2026-11-21 10:00:00.123456+00",r,1)"#,
                r#"(nulls,,,,,,,,,,"2026-11-21 10:00:00.123456+00",r,2)"#,
                r#"(small,,,,0.0001,0.00000000000000000000000000000000000000,0001-01-01,"0001-01-01 00:00:00+00",,,"2026-11-21 10:00:00.123456+00",r,3)"#,
                r#"("ten thousand",,,,10000.0000,-0.10000000000000000000000000000000000000,,,,,"2026-11-21 10:00:00.123456+00",r,4)"#,
            ]
        );
    });
}

#[test]
fn what_the_table_refuses_is_told_and_the_rest_is_written() {
    let Some(server) = Postgres::start() else { return };
    run(async {
        let sql = connect(&server).await;
        let create = "CREATE TABLE t (k uuid PRIMARY KEY, v varchar(3) NOT NULL, _baler_batch_time timestamptz, _baler_run text, \
                      _baler_record bigint)";
        sql.batch_execute(create).await.unwrap();
        let schema: Schema = "k: text, v: text".parse().unwrap();
        let uuid = |last: &str| Some(format!("00000000-0000-0000-0000-00000000000{last}"));
        let keys =
            vec![uuid("1"), uuid("2"), Some("none".to_owned()), None, uuid("a"), uuid("A"), uuid("3"), uuid("1")];
        let values = vec![Some("one"), None, Some("x"), Some("x"), Some("old"), Some("new"), Some("a\0"), Some("long")];
        let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(keys)), Arc::new(StringArray::from(values))];
        let batch = RecordBatch::try_new(schema.to_arrow(), columns).unwrap();
        let mut table = open(&server, target("t", &["k"])).await;
        table.ensure_table(&schema).await.unwrap();
        let order = Order { batch_time: Timestamp::UNIX_EPOCH, run: RunId::try_new("r").unwrap() };
        let written = table.write(&order, &[10, 20, 30, 40, 50, 60, 70, 80], &batch).await.unwrap();
        let reasons: Vec<String> =
            written.refused.iter().map(|refused| format!("{}: {}", refused.row, refused.reason)).collect();
        assert_eq!(reasons.len(), 5, "{reasons:?}");
        assert!(reasons[0].starts_with("1: null value in column \"v\""), "{reasons:?}");
        assert_eq!(reasons[1], "2: invalid input syntax for type uuid: \"none\"");
        assert_eq!(reasons[2], "3: the key `k` is null");
        assert_eq!(reasons[3], "6: column `v`: PostgreSQL has no text with a zero byte");
        assert_eq!(reasons[4], "7: value too long for type character varying(3)");
        // What the refused record had hidden is there, and of two keys that are one in the table the last.
        let rows = sql.query("SELECT v FROM t ORDER BY k", &[]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<String>>(), ["one", "new"]);
    });
}

#[test]
fn a_table_that_cannot_take_the_records_is_refused_with_a_remedy() {
    let Some(server) = Postgres::start() else { return };
    run(async {
        let sql = connect(&server).await;
        let columns = "_baler_batch_time timestamptz, _baler_run text, _baler_record bigint";
        let create = format!(
            "CREATE TABLE few (item bigint PRIMARY KEY); CREATE TABLE loose (item bigint, price bigint, note text, {columns}); \
             CREATE TABLE odd (item bigint PRIMARY KEY, price boolean, note text, {columns})"
        );
        sql.batch_execute(&create).await.unwrap();
        for (table, wanted) in [
            (
                "few",
                "the table `few` lacks the columns `price`, `note`, `_baler_batch_time`, `_baler_run`, `_baler_record`",
            ),
            ("loose", "the table `loose` has no primary key or unique constraint over `item`"),
            ("odd", "the table `odd`: column \"price\" is of type boolean but expression is of type bigint"),
        ] {
            let error = open(&server, target(table, &["item"])).await.ensure_table(&schema()).await.unwrap_err();
            assert_eq!(error.to_string(), wanted);
        }
        let refused = Target { absent: Absent::Refused, ..target("none", &["item"]) };
        let error = open(&server, refused).await.ensure_table(&schema()).await.unwrap_err();
        assert_eq!(error.to_string(), "the table `none` does not exist");
    });
}

#[test]
fn writers_at_the_same_time_end_as_one_after_the_other() {
    let Some(server) = Postgres::start() else { return };
    run(async {
        let schema = schema();
        let batches: Vec<Batch> = (0..8)
            .map(|n| Batch {
                time: n % 3,
                run: "a-run",
                records: (0..400).map(|row| (n as u64 * 1_000 + row, (row as i64 * 7 + n) % 150, row as i64)).collect(),
            })
            .collect();
        let mut expected = BTreeMap::new();
        batches.iter().for_each(|batch| naive(&mut expected, batch));
        let mut tables = Vec::new();
        for _ in &batches {
            let mut table = open(&server, target("items", &["item"])).await;
            table.ensure_table(&schema).await.unwrap();
            tables.push(table);
        }
        let writes = tables.iter_mut().zip(&batches).map(|(table, batch)| write(table, &schema, batch));
        for written in futures::future::join_all(writes).await {
            assert_eq!(written.unwrap().refused, []);
        }
        let sql = connect(&server).await;
        assert_eq!(rows(&sql, "items").await, expected);
    });
}
