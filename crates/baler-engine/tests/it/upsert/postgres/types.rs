//! Types of the table that are not those of the records.

use baler_model::Kind;

use super::*;

const ORDER: &str = "_baler_batch_time timestamptz, _baler_run text, _baler_record bigint";

/// Reads lines of JSON as records.
fn decoded(schema: &Schema, lines: &str) -> RecordBatch {
    let source = baler_format::decode::Source::bytes(lines.as_bytes().to_vec());
    let options = baler_format::decode::DecodeOptions::default();
    let mut decoder =
        baler_format::decode::Decoder::new(&baler_format::Format::JsonLines, schema, &options, source).unwrap();
    let decoded = decoder.next_batch().unwrap().unwrap();
    assert_eq!(decoded.rejected.len(), 0, "{:?}", decoded.rejected);
    decoded.batch
}

fn some_order() -> Order {
    Order { batch_time: Timestamp::UNIX_EPOCH, run: RunId::try_new("r").unwrap() }
}

async fn upsert(server: &Postgres, table: &str, schema: &Schema, records: &RecordBatch) -> Written {
    let mut table = open(server, target(table, &["k"])).await;
    table.ensure_table(schema).await.unwrap();
    let numbers: Vec<u64> = (0..records.num_rows() as u64).collect();
    table.write(&some_order(), &numbers, records).await.unwrap()
}

fn told(written: &Written) -> Vec<String> {
    written.refused.iter().map(|refused| format!("{}: {}", refused.row, refused.reason)).collect()
}

#[test]
fn columns_that_round_or_cut_are_refused_by_name_with_a_remedy() {
    let Some(server) = Postgres::start() else { return };
    run(async {
        let sql = connect(&server).await;
        let create = format!(
            "CREATE DOMAIN pieces AS integer; CREATE DOMAIN few AS pieces CHECK (value < 100);
             CREATE TABLE rounds (k bigint PRIMARY KEY, price integer, stock few, amount numeric(10,1), ratio real, {ORDER});
             CREATE TABLE cuts (k bigint PRIMARY KEY, at date, seen timestamp(0), said date, {ORDER});
             CREATE TABLE blurs (k bigint PRIMARY KEY, _baler_batch_time timestamptz(0), _baler_run text, _baler_record real)"
        );
        sql.batch_execute(&create).await.unwrap();
        for (table, schema, what) in [
            (
                "rounds",
                "k: int64, price: float64, stock: decimal(8,2), amount: decimal(10,2), ratio: int64",
                "the table `rounds`: `price` is integer, which rounds or cuts float64; `stock` is integer, which rounds or cuts \
                 decimal(8,2); `amount` is numeric(10,1), which rounds or cuts decimal(10,2); `ratio` is real, which rounds or \
                 cuts int64",
            ),
            (
                "cuts",
                "k: int64, at: timestamp(us, UTC), seen: timestamp(ms), said: text",
                "the table `cuts`: `at` is date, which rounds or cuts timestamp(us, UTC); `seen` is timestamp(0) without time \
                 zone, which rounds or cuts timestamp(ms); `said` is date, which rounds or cuts text",
            ),
            (
                "blurs",
                "k: int64",
                "the table `blurs`: `_baler_batch_time` is timestamp(0) with time zone and has to be timestamptz; \
                 `_baler_record` is real and has to be bigint",
            ),
        ] {
            let mut refused = open(&server, target(table, &["k"])).await;
            let error = refused.ensure_table(&schema.parse().unwrap()).await.unwrap_err();
            assert_eq!(error.to_string(), what);
            assert_eq!(error.kind(), Kind::Invalid);
            let hint = error.hint().unwrap();
            assert!(hint.contains(&format!("ALTER TABLE {table}")) && hint.contains("schema = { columns"), "{hint}");
        }
    });
}

#[test]
fn what_a_narrower_column_cannot_take_fails_its_record_and_is_not_cut() {
    let Some(server) = Postgres::start() else { return };
    run(async {
        let sql = connect(&server).await;
        let create = format!(
            "CREATE DOMAIN short AS varchar(3); CREATE DOMAIN shorter AS short CHECK (value <> 'x');
             CREATE TABLE t (k bigint PRIMARY KEY, code shorter, bits bit(3), n smallint, {ORDER})"
        );
        sql.batch_execute(&create).await.unwrap();
        let schema: Schema = "k: int64, code: text, bits: text, n: int64".parse().unwrap();
        let records = decoded(
            &schema,
            concat!(
                r#"{"k":0,"code":"abc","bits":"101","n":1}"#,
                "\n",
                r#"{"k":1,"code":"abcd","bits":"101","n":1}"#,
                "\n",
                r#"{"k":2,"code":"abc","bits":"10101","n":1}"#,
                "\n",
                r#"{"k":3,"code":"abc","bits":"101","n":40000}"#,
                "\n",
                r#"{"k":4,"code":"x","bits":"101","n":1}"#,
                "\n",
                r#"{"k":5,"code":"abc","bits":"101","n":-32768}"#,
                "\n",
            ),
        );
        let written = upsert(&server, "t", &schema, &records).await;
        assert_eq!(
            told(&written),
            [
                "1: value too long for type character varying(3)",
                "2: bit string length 5 does not match type bit(3)",
                "3: smallint out of range",
                "4: value for domain shorter violates check constraint \"shorter_check\"",
            ]
        );
        let keys = sql.query("SELECT k FROM t ORDER BY k", &[]).await.unwrap();
        assert_eq!(keys.iter().map(|row| row.get(0)).collect::<Vec<i64>>(), [0, 5]);
    });
}

#[test]
fn times_are_utc_whatever_zone_the_server_is_in() {
    let Some(server) = Postgres::start() else { return };
    run(async {
        let sql = connect(&server).await;
        let create = format!(
            "ALTER DATABASE postgres SET timezone TO 'Asia/Tokyo'; ALTER DATABASE postgres SET datestyle TO 'SQL, DMY';
             CREATE TABLE t (k bigint PRIMARY KEY, civil timestamp, instant timestamptz, said text, {ORDER})"
        );
        sql.batch_execute(&create).await.unwrap();
        let schema: Schema =
            "k: int64, civil: timestamp(us, UTC), instant: timestamp(s), said: timestamp(us, UTC)".parse().unwrap();
        let records = decoded(
            &schema,
            "{\"k\":1,\"civil\":\"2026-02-03T20:00:00.5Z\",\"instant\":\"2026-02-03T20:00:00\",\"said\":\"2026-02-03T20:00:00.5Z\"}\n",
        );
        assert_eq!(told(&upsert(&server, "t", &schema, &records).await), Vec::<String>::new());
        let query = "SELECT to_char(civil, 'YYYY-MM-DD HH24:MI:SS.MS'), to_char(instant AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), \
                     said FROM t";
        let row = sql.query_one(query, &[]).await.unwrap();
        let values: [String; 3] = [row.get(0), row.get(1), row.get(2)];
        assert_eq!(values, ["2026-02-03 20:00:00.500", "2026-02-03 20:00", "2026-02-03 20:00:00.5+00"]);
    });
}

#[test]
fn the_six_characters_of_an_escape_are_no_zero_byte() {
    let Some(server) = Postgres::start() else { return };
    run(async {
        let schema: Schema = "k: int64, l: list(text), s: struct(t: text)".parse().unwrap();
        let records = decoded(
            &schema,
            concat!(
                r#"{"k":0,"l":["a\\u0000b"],"s":{"t":"\\\\u0000"}}"#,
                "\n",
                r#"{"k":1,"l":["a\u0000b"],"s":{"t":""}}"#,
                "\n",
                r#"{"k":2,"l":[],"s":{"t":"\\\u0000"}}"#,
                "\n",
            ),
        );
        let written = upsert(&server, "t", &schema, &records).await;
        let zero = "PostgreSQL has no text with a zero byte";
        assert_eq!(told(&written), [format!("1: column `l`: {zero}"), format!("2: column `s`: {zero}")]);
        let sql = connect(&server).await;
        let row = sql.query_one("SELECT l->>0, s->>'t' FROM t", &[]).await.unwrap();
        assert_eq!([row.get::<_, String>(0), row.get(1)], [r"a\u0000b", r"\\u0000"]);
    });
}

#[test]
fn a_value_that_copy_refuses_fails_its_record_alone() {
    let Some(server) = Postgres::start() else { return };
    run(async {
        let sql = connect(&server).await;
        sql.batch_execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
            .await
            .unwrap();
        let url = PostgresUrl::try_new("$DB", &format!("{} dbname=latin", server.url)).unwrap();
        let schema: Schema = "k: int64, v: text".parse().unwrap();
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..9));
        let value = |k: i32| if [2, 3, 8].contains(&k) { "✓".to_owned() } else { format!("é{k}") };
        let values: ArrayRef = Arc::new(StringArray::from_iter_values((0..9).map(value)));
        let records = RecordBatch::try_new(schema.to_arrow(), vec![keys, values]).unwrap();
        let mut table = PostgresTable::open(url, target("t", &["k"])).await.unwrap();
        table.ensure_table(&schema).await.unwrap();
        let written = table.write(&some_order(), &[0, 1, 2, 3, 4, 5, 6, 7, 8], &records).await.unwrap();
        assert_eq!((written.taken, rows_refused(&written.refused)), (6, vec![2, 3, 8]));
        assert!(written.refused.iter().all(|refused| refused.reason.contains("has no equivalent")), "{written:?}");
    });
}
