//! SQLite.

use arrow_array::Float64Array;
use baler_engine::upsert::{Absent, SqliteTable, Target};
use baler_model::Kind;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

fn target(key: &[&str]) -> Target {
    let key = key.iter().map(|name| (*name).to_owned()).collect();
    Target { table: "ite\"ms".to_owned(), key, absent: Absent::Created }
}

struct World {
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    fn open(&self, target: Target) -> SqliteTable {
        SqliteTable::open(&self.dir.path().join("items.db"), target).unwrap()
    }

    fn sql(&self) -> Connection {
        Connection::open(self.dir.path().join("items.db")).unwrap()
    }

    fn rows(&self) -> BTreeMap<i64, Row> {
        let sql = self.sql();
        let columns = "item, price, note, _baler_batch_time, _baler_run, _baler_record";
        let mut statement = sql.prepare(&format!("SELECT {columns} FROM \"ite\"\"ms\"")).unwrap();
        let rows = statement.query_map([], |row| {
            let time: String = row.get(3)?;
            let time: Timestamp = time.parse().unwrap();
            Ok((row.get(0)?, (row.get(1)?, row.get(2)?, (time.as_second(), row.get(4)?, row.get::<_, i64>(5)? as u64))))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

const CONSTRAINED: &str = "CREATE TABLE \"ite\"\"ms\" (item INTEGER PRIMARY KEY, price INTEGER CHECK (price >= 0), note TEXT, \
    _baler_batch_time TEXT, _baler_run TEXT, _baler_record INTEGER)";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_newest_record_of_each_key_stays_whatever_comes_again(batches in batches()) {
        let world = World::new();
        world.sql().execute(CONSTRAINED, []).unwrap();
        let schema = schema();
        let mut expected = BTreeMap::new();
        run(async {
            let mut table = world.open(target(&["item"]));
            table.ensure_table(&schema).await.unwrap();
            for (n, batch) in batches.iter().enumerate() {
                if n % 3 == 2 {
                    // Another process.
                    table = world.open(target(&["item"]));
                    table.ensure_table(&schema).await.unwrap();
                }
                let written = write(&mut table, &schema, batch).await.unwrap();
                let bad: Vec<usize> =
                    batch.records.iter().enumerate().filter(|(_, record)| record.2 < 0).map(|(row, _)| row).collect();
                assert_eq!(rows_refused(&written.refused), bad);
                assert_eq!(written.taken as usize + bad.len(), batch.records.len());
                naive(&mut expected, batch);
            }
        });
        prop_assert_eq!(world.rows(), expected);
    }
}

#[test]
fn the_order_of_arrival_does_not_matter() {
    let schema = schema();
    let batches = [
        Batch { time: 1, run: "B-run", records: vec![(1, 7, 10), (2, 7, 11)] },
        Batch { time: 1, run: "B-run", records: vec![(3, 7, 12), (4, 8, 13)] },
        Batch { time: 1, run: "a-run", records: vec![(1, 7, 14)] },
        Batch { time: -5, run: "z-run", records: vec![(1, 7, 15), (2, 9, 16)] },
    ];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1]] {
        let world = World::new();
        run(async {
            let mut table = world.open(target(&["item"]));
            table.ensure_table(&schema).await.unwrap();
            for n in order {
                write(&mut table, &schema, &batches[n]).await.unwrap();
            }
        });
        let prices: Vec<(i64, i64)> = world.rows().into_iter().map(|(key, row)| (key, row.0)).collect();
        assert_eq!(prices, [(7, 14), (8, 13), (9, 16)], "{order:?}");
    }
}

#[test]
fn every_type_is_written_without_loss() {
    let world = World::new();
    let text = "k: text, f: float64, b: bool, d: decimal(38,4), y: date, z: timestamp(ns, UTC), l: list(struct(x: int64)), \
                s: struct(t: text)";
    let schema: Schema = text.parse().unwrap();
    let json = r#"{"k":"é\u0000'","f":-0.1,"b":true,"d":"-1234567890123456789012345678901234.5678","y":"1969-12-31","z":"2020-01-01T00:00:00.123456789Z","l":[{"x":1},null],"s":{"t":"\""}}
{"k":"nulls"}
"#;
    let source = baler_format::decode::Source::bytes(json.as_bytes().to_vec());
    let options = baler_format::decode::DecodeOptions::default();
    let mut decoder =
        baler_format::decode::Decoder::new(&baler_format::Format::JsonLines, &schema, &options, source).unwrap();
    let batch = decoder.next_batch().unwrap().unwrap().batch;
    assert_eq!(batch.num_rows(), 2);
    run(async {
        let mut table = world.open(target(&["k"]));
        table.ensure_table(&schema).await.unwrap();
        let order = Order { batch_time: Timestamp::UNIX_EPOCH, run: RunId::try_new("r").unwrap() };
        let written = table.write(&order, &[1, 2], &batch).await.unwrap();
        assert_eq!(written, Written { taken: 2, refused: Vec::new() });
    });
    let sql = world.sql();
    let mut statement = sql.prepare("SELECT k, f, b, d, y, z, l, s FROM \"ite\"\"ms\" ORDER BY k DESC").unwrap();
    let rows: Vec<String> = statement
        .query_map([], |row| {
            let values: Vec<String> =
                (0..8).map(|n| format!("{:?}", row.get::<_, rusqlite::types::Value>(n).unwrap())).collect();
            Ok(values.join(" "))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        rows,
        [
            r#"Text("é\0'") Real(-0.1) Integer(1) Text("-1234567890123456789012345678901234.5678") Text("1969-12-31") Text("2020-01-01T00:00:00.123456789Z") Text("[{\"x\":1},null]") Text("{\"t\":\"\\\"\"}")"#,
            r#"Text("nulls") Null Null Null Null Null Null Null"#,
        ]
    );
}

#[test]
fn what_the_table_refuses_is_told_and_the_rest_is_written() {
    let world = World::new();
    world
        .sql()
        .execute_batch(
            "CREATE TABLE \"ite\"\"ms\" (k TEXT PRIMARY KEY, f REAL NOT NULL, _baler_batch_time TEXT, _baler_run TEXT, \
             _baler_record INTEGER) STRICT;
             CREATE TRIGGER no_seven BEFORE INSERT ON \"ite\"\"ms\" WHEN new.f = 7 BEGIN SELECT RAISE(ABORT, 'no sevens'); END;",
        )
        .unwrap();
    let schema: Schema = "k: text, f: float64".parse().unwrap();
    let keys: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c"), Some("d"), Some("e"), Some("f")]));
    let floats = Float64Array::from(vec![Some(1.0), Some(2.0), None, Some(f64::NAN), Some(7.0), Some(6.0)]);

    let batch = RecordBatch::try_new(schema.to_arrow(), vec![keys, Arc::new(floats)]).unwrap();
    let written = run(async {
        let mut table = world.open(target(&["k"]));
        table.ensure_table(&schema).await.unwrap();
        let order = Order { batch_time: Timestamp::UNIX_EPOCH, run: RunId::try_new("r").unwrap() };
        table.write(&order, &[1, 2, 3, 4, 5, 6], &batch).await.unwrap()
    });
    let reasons: Vec<String> =
        written.refused.iter().map(|refused| format!("{}: {}", refused.row, refused.reason)).collect();
    assert_eq!(
        reasons,
        [
            "1: the key `k` is null",
            "2: NOT NULL constraint failed: ite\"ms.f",
            "3: column `f`: SQLite has no number that is none (NaN)",
            "4: no sevens",
        ]
    );
    let count: i64 = world.sql().query_row("SELECT count(*) FROM \"ite\"\"ms\"", [], |row| row.get(0)).unwrap();
    assert_eq!((count, written.taken), (2, 2));
}

#[test]
fn a_table_that_cannot_take_the_records_is_refused_with_a_remedy() {
    let error = |statement: &str, target: Target, schema: &str| {
        let world = World::new();
        world.sql().execute_batch(statement).unwrap();
        let error = run(world.open(target).ensure_table(&schema.parse().unwrap())).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        (error.to_string(), error.hint().unwrap_or_default())
    };
    let columns = "item: int64, price: int64, note: text";
    let refused = Target { absent: Absent::Refused, ..target(&["item"]) };
    assert_eq!(error("", refused, columns).0, "the table `ite\"ms` does not exist");
    let (what, hint) =
        error("CREATE TABLE \"ite\"\"ms\" (ITEM INTEGER PRIMARY KEY, price)", target(&["item"]), columns);
    assert_eq!(
        what,
        "the table `ite\"ms` lacks the columns `note`, `_baler_batch_time`, `_baler_run`, `_baler_record`"
    );
    assert!(hint.contains("ADD COLUMN \"note\""), "{hint}");
    let (what, hint) = error(&CONSTRAINED.replace(" PRIMARY KEY", ""), target(&["item"]), columns);
    assert_eq!(what, "the table `ite\"ms` has no primary key or unique constraint over `item`");
    assert!(hint.contains("UNIQUE"), "{hint}");
    assert!(error("", target(&["other"]), columns).0.contains("is no column of the records"));
    assert!(error("", target(&[]), columns).0.contains("needs a key"));
    assert!(error("", target(&["l"]), "l: list(int64)").0.contains("do not compare"));
    assert!(error("", target(&["a"]), "a: int64, A: int64").0.contains("letter case"));
    assert!(error("", target(&["a"]), "a: int64, _Baler_Run: text").0.contains("kept for the order"));
}

#[test]
fn rows_that_somebody_else_wrote_give_way() {
    let world = World::new();
    world.sql().execute(CONSTRAINED, []).unwrap();
    world.sql().execute("INSERT INTO \"ite\"\"ms\" (item, price) VALUES (7, 1), (8, 2)", []).unwrap();
    let schema = schema();
    run(async {
        let mut table = world.open(target(&["item"]));
        table.ensure_table(&schema).await.unwrap();
        write(&mut table, &schema, &Batch { time: -5, run: "a-run", records: vec![(1, 7, 10)] }).await.unwrap();
    });
    let sql = world.sql();
    let prices: Vec<i64> = sql
        .prepare("SELECT price FROM \"ite\"\"ms\" ORDER BY item")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(prices, [10, 2]);
}

#[test]
fn a_table_named_with_its_schema_is_the_same_table() {
    let world = World::new();
    let schema = schema();
    let named = |table: &str| Target { table: table.to_owned(), ..target(&["item"]) };
    run(async {
        for (n, name) in ["main.things", "things", "MAIN.Things"].into_iter().enumerate() {
            let mut table = world.open(named(name));
            table.ensure_table(&schema).await.unwrap();
            let batch = Batch { time: 1, run: "a-run", records: vec![(n as u64, 7, 10 + n as i64)] };
            assert_eq!(write(&mut table, &schema, &batch).await.unwrap().taken, 1, "{name}");
        }
    });
    let sql = world.sql();
    let mut statement = sql.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let tables: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(tables, ["things"]);
    assert_eq!(sql.query_row("SELECT price FROM things", [], |row| row.get(0)), Ok(12));
    // A table of `temp` would be gone with the session.
    for name in ["temp.things", "other.things", "main.a.b"] {
        let error = SqliteTable::open(&world.dir.path().join("items.db"), named(name)).err().unwrap();
        assert_eq!(error.kind(), Kind::Invalid);
        assert_eq!(
            error.to_string(),
            format!("the table `{name}` is in no schema of SQLite: name it without, or with `main`")
        );
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_told_with_a_remedy() {
    let world = World::new();
    std::fs::write(world.dir.path().join("text"), "no database, ".repeat(100)).unwrap();
    for (file, remedy) in [("text", "the file is none of SQLite"), ("none/items.db", "see that the directory exists")] {
        let error = SqliteTable::open(&world.dir.path().join(file), target(&["item"])).err().unwrap();
        assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
        assert!(error.to_string().ends_with(&format!("{file}` cannot be opened")), "{error}");
        assert!(error.hint().unwrap().starts_with(remedy), "{error:?}");
    }
}

#[test]
fn a_trigger_that_fails_is_told_with_a_remedy() {
    let world = World::new();
    let schema = schema();
    run(async {
        let mut table = world.open(target(&["item"]));
        table.ensure_table(&schema).await.unwrap();
        // A trigger of somebody else.
        world
            .sql()
            .execute("CREATE TRIGGER t BEFORE INSERT ON \"ite\"\"ms\" BEGIN SELECT no_such_function(1); END", [])
            .unwrap();
        let batch = Batch { time: 1, run: "a-run", records: vec![(1, 7, 10)] };
        let error = write(&mut table, &schema, &batch).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.hint().unwrap().contains("a trigger on it"), "{error:?}");
    });
}
