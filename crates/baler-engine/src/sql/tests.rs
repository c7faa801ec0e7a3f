//! What a query may be, what comes out of it, and how it fails.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use baler_format::schema::Schema;
use baler_model::Kind;
use baler_model::ledger::Failure;

use super::{Sql, check};
use crate::error::TaskError;

const COLUMNS: &str = "id: int64, name: text, price: float64";

fn plan(text: &str) -> Result<Sql, Failure> {
    Sql::try_new(text, &COLUMNS.parse().unwrap(), 0)
}

/// Records with these ids: names repeat, some prices are missing.
fn records(ids: std::ops::Range<i64>) -> RecordBatch {
    let schema: Schema = COLUMNS.parse().unwrap();
    let name = |id: i64| ["ann", "bob", "cyd"][id as usize % 3];
    let price = |id: i64| (id % 4 != 3).then_some(id as f64 / 2.0);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(StringArray::from_iter_values(ids.clone().map(name))),
        Arc::new(Float64Array::from_iter(ids.map(price))),
    ];
    RecordBatch::try_new(schema.to_arrow(), columns).unwrap()
}

/// Each row that comes out as text, values with a bar between.
fn ask(sql: &Sql, batches: &[RecordBatch]) -> Result<(Vec<String>, u64), TaskError> {
    let mut rows = Vec::new();
    let expected = sql.output().to_arrow();
    let mut take = |batch: RecordBatch| {
        assert_eq!(batch.schema(), expected);
        let format = FormatOptions::default().with_null("∅");
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &format).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
        Ok(())
    };
    let mut query = sql.begin()?;
    for batch in batches {
        query.push(batch, &mut take)?;
    }
    let taken = query.finish(&mut take)?;
    Ok((rows, taken))
}

fn rows(text: &str, batches: &[RecordBatch]) -> Vec<String> {
    let sql = plan(text).unwrap_or_else(|failure| panic!("{text}: {failure:?}"));
    let (rows, taken) = ask(&sql, batches).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    assert_eq!(taken, batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>());
    rows
}

#[test]
fn what_is_no_query_over_the_records_is_refused_with_a_remedy() {
    for (text, error, hint) in [
        ("", "`sql` is empty", "SELECT * FROM input"),
        (" ; ", "`sql` is empty", ""),
        (
            "SELEC id FROM input",
            "`sql` cannot be read: expected: an SQL statement, found: SELEC at Line: 1, Column: 1",
            "",
        ),
        ("SELECT id FROM input WHERE", "`sql` cannot be read: expected: an expression", ""),
        ("SELECT 'a FROM input", "`sql` cannot be read: unterminated string literal", ""),
        ("SELECT id FROM input; SELECT id FROM input", "more than one statement", "write one query"),
        ("SELECT id FROM input; DROP TABLE input", "more than one statement", ""),
        ("DROP TABLE input", "`DROP …` is no query", "SELECT … FROM input"),
        ("INSERT INTO input VALUES (1, 'a', 2.0)", "`INSERT …` is no query", ""),
        ("DELETE FROM input", "`DELETE …` is no query", ""),
        ("UPDATE input SET id = 1", "`UPDATE …` is no query", ""),
        ("COPY input TO '/tmp/x.csv'", "`COPY …` is no query", "where records go, `to` says"),
        ("COPY (SELECT id FROM input) TO '/tmp/x.csv'", "`COPY …` is no query", ""),
        ("SET datafusion.execution.batch_size = 1", "`SET …` is no query", ""),
        ("CREATE TABLE t AS SELECT id FROM input", "`CREATE …` is no query", ""),
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", "`CREATE …` is no query", ""),
        ("EXPLAIN SELECT id FROM input", "`EXPLAIN …` is no query", ""),
        ("SHOW TABLES", "`SHOW …` is no query", ""),
        ("SELECT id INTO t FROM input", "is no query", ""),
        ("SELECT id FROM inptu", "there is no table `inptu`", "the table `input`"),
        ("SELECT id FROM INPUT", "there is no table `INPUT`", "the table `input`"),
        ("SELECT id FROM public.input", "there is no table `public.input`", ""),
        ("SELECT * FROM '/etc/passwd'", "there is no table", ""),
        ("SELECT * FROM information_schema.tables", "there is no table `information_schema.tables`", ""),
        ("SELECT id FROM input WHERE id IN (SELECT id FROM other)", "there is no table `other`", ""),
        ("SELECT 1 AS one", "the query does not read `input`", "SELECT … FROM input"),
        ("SELECT * FROM input CROSS JOIN generate_series(1, 3) AS s(n)", "generate_series", ""),
    ] {
        let failure = plan(text).expect_err(text);
        assert!(failure.error.contains(error), "{text}: {failure:?}");
        assert!(
            failure.hint.as_deref().is_some_and(|found| !found.is_empty() && found.contains(hint)),
            "{text}: {failure:?}"
        );
    }
}

#[test]
fn columns_and_functions_that_are_not_there_are_told_with_a_guess() {
    for (text, error, hint) in [
        ("SELECT nmae FROM input", "there is no column `nmae`", "did you mean `name`?"),
        (
            "SELECT ID FROM input",
            "there is no column `ID`",
            "did you mean `id`? Names of columns are taken as they are written",
        ),
        ("SELECT zzz FROM input", "there is no column `zzz`", "known here: `id`, `name`, `price`"),
        ("SELECT t.zzz FROM input AS t", "there is no column `zzz` in `t`", "known here"),
        ("SELECT lowr(name) AS n FROM input", "lowr", "id you mean 'lower'?"),
        ("SELECT a.id FROM input AS a JOIN input AS b ON id = id", "a column `id`", "say which"),
        ("SELECT name + 1 AS n FROM input WHERE name", "", ""),
    ] {
        let failure = plan(text).expect_err(text);
        assert!(failure.error.contains(error), "{text}: {failure:?}");
        assert!(failure.hint.as_deref().is_some_and(|found| found.contains(hint)), "{text}: {failure:?}");
    }
}

#[test]
fn columns_come_out_with_names_that_differ() {
    for (text, error) in [
        ("SELECT id, id FROM input", "id"),
        ("SELECT a.id, b.id FROM input AS a JOIN input AS b ON a.id = b.id", "two columns come out with the name `id`"),
        ("SELECT * FROM input AS a JOIN input AS b ON a.id = b.id", "two columns come out with the name `id`"),
        ("SELECT id + 1 FROM input", "`id + 1` comes out without a name"),
        ("SELECT count(*) FROM input", "`count(*)` comes out without a name"),
        ("SELECT * FROM (SELECT upper(name) FROM input)", "`upper(name)` comes out without a name"),
        ("SELECT t.* FROM (SELECT upper(name) FROM input) AS t", "`upper(name)` comes out without a name"),
        ("WITH t AS (SELECT upper(name) FROM input) SELECT * FROM t", "`upper(name)` comes out without a name"),
        ("SELECT id + 1 FROM input UNION ALL SELECT id AS n FROM input", "`id + 1` comes out without a name"),
    ] {
        let failure = plan(text).expect_err(text);
        assert!(failure.error.contains(error), "{text}: {failure:?}");
        assert!(failure.hint.is_some(), "{text}");
    }
    // Nothing without a name comes out of these.
    for (text, columns) in [
        ("SELECT n FROM (SELECT upper(name) FROM input) AS t(n)", "n: text"),
        ("WITH t(n) AS (SELECT upper(name) FROM input) SELECT * FROM t", "n: text"),
        ("SELECT id FROM input WHERE price = (SELECT max(price) FROM input)", "id: int64"),
        ("SELECT id FROM input AS a JOIN (SELECT max(id) AS m FROM input) AS b ON a.id = b.m", "id: int64"),
        ("SELECT a.* FROM input AS a JOIN (SELECT count(*) FROM input) AS b ON true", COLUMNS),
        ("SELECT id AS n FROM input UNION ALL SELECT id + 1 FROM input", "n: int64"),
        ("SELECT * EXCEPT (price), 'x' AS \"odd name\" FROM input", "id: int64, name: text, \"odd name\": text"),
        ("TABLE input", COLUMNS),
    ] {
        match plan(text) {
            Ok(sql) => assert_eq!(sql.output().to_string(), columns, "{text}"),
            Err(failure) => assert!(text.starts_with("TABLE"), "{text}: {failure:?}"),
        }
    }
}

#[test]
fn functions_that_give_another_value_each_time_are_refused_by_name() {
    for (text, name) in [
        ("SELECT id, now() AS at FROM input", "now()"),
        ("SELECT id, current_timestamp AS at FROM input", "now()"),
        ("SELECT id, current_date AS at FROM input", "current_date()"),
        ("SELECT id FROM input WHERE random() < 0.5", "random()"),
        ("SELECT id FROM input ORDER BY random()", "random()"),
        ("SELECT uuid() AS u FROM input", "uuid()"),
        ("SELECT id FROM input WHERE price > (SELECT random() AS r FROM input LIMIT 1)", "random()"),
        ("SELECT sum(random()) AS s FROM input", "random()"),
        ("SELECT sum(id) OVER (ORDER BY random()) AS s FROM input", "random()"),
        ("WITH t AS (SELECT id, now() AS at FROM input) SELECT id FROM t", "now()"),
    ] {
        let failure = plan(text).expect_err(text);
        assert!(failure.error.contains(&format!("`{name}` gives another value each time")), "{text}: {failure:?}");
        assert!(failure.hint.unwrap().contains("a column of the records"), "{text}");
    }
    assert!(plan("SELECT date_trunc('day', to_timestamp(id)) AS d, reverse(name) AS h FROM input").is_ok());
}

#[test]
fn what_comes_out_is_of_types_that_can_be_written() {
    let columns = |text: &str| plan(text).unwrap_or_else(|failure| panic!("{text}: {failure:?}")).output().to_string();
    for (expression, kind) in [
        ("id", "int64"),
        ("CAST(id AS SMALLINT)", "int64"),
        ("CAST(id AS INT UNSIGNED)", "int64"),
        ("CAST(price AS REAL)", "float64"),
        ("upper(name)", "text"),
        ("name || '!'", "text"),
        ("arrow_cast(name, 'LargeUtf8')", "text"),
        ("arrow_cast(name, 'Utf8View')", "text"),
        ("arrow_cast(name, 'Dictionary(Int32, Utf8)')", "text"),
        ("NULL", "text"),
        ("id > 1", "bool"),
        ("CAST(price AS DECIMAL(12, 2))", "decimal(12,2)"),
        ("CAST('2024-01-02' AS DATE)", "date"),
        ("to_timestamp_millis(id)", "timestamp(ms)"),
        ("count(*) OVER ()", "int64"),
        ("row_number() OVER ()", "int64"),
        ("[id, 2]", "list(int64)"),
        ("named_struct('a', id, 'b', name)", "struct(a: int64, b: text)"),
    ] {
        assert_eq!(columns(&format!("SELECT {expression} AS c FROM input")), format!("c: {kind}"), "{expression}");
    }
    for (expression, kind, hint) in [
        ("arrow_cast(name, 'Binary')", "Binary", "encode(c, 'hex')"),
        ("INTERVAL '1 day'", "Interval", "CAST(… AS VARCHAR) AS c"),
        ("to_timestamp_millis(id) - to_timestamp_millis(0)", "D", "CAST(… AS VARCHAR)"),
        ("CAST('10:00' AS TIME)", "Time64", "CAST(… AS VARCHAR)"),
        ("arrow_cast(id, 'Decimal256(50, 2)')", "Decimal256(50, 2)", "DECIMAL(38, 9)"),
    ] {
        let failure = plan(&format!("SELECT {expression} AS c FROM input")).expect_err(expression);
        assert!(failure.error.starts_with(&format!("column `c` is {kind}")), "{expression}: {failure:?}");
        assert!(failure.hint.unwrap().contains(hint), "{expression}");
    }
}

#[test]
fn no_column_claims_that_values_never_miss() {
    let input: Schema = "id: int64 not null, s: struct(a: int64 not null)".parse().unwrap();
    let sql = Sql::try_new("SELECT id, s, 1 AS one, count(*) OVER () AS n, [id] AS l FROM input", &input, 0).unwrap();
    let columns = "id: int64, s: struct(a: int64), one: int64, n: int64, l: list(int64)";
    assert_eq!(sql.output().to_string(), columns);
}

#[test]
fn records_keep_their_order_where_none_is_asked_for() {
    // Batches of odd sizes: brought together, passed on, empty.
    let batches: Vec<RecordBatch> =
        [0..1, 1..1, 1..9_000, 9_000..9_001, 9_001..20_000].into_iter().map(records).collect();
    let found = rows("SELECT id FROM input WHERE id % 7 = 3", &batches);
    let expected: Vec<String> = (0..20_000).filter(|id| id % 7 == 3).map(|id: i64| id.to_string()).collect();
    assert_eq!(found, expected);
    assert_eq!(rows("SELECT id, upper(name) AS n, price FROM input LIMIT 2", &batches), ["0|ANN|0.0", "1|BOB|0.5"]);
    assert_eq!(rows("SELECT id FROM input LIMIT 1 OFFSET 15000", &batches), ["15000"]);
}

#[test]
fn groups_sorts_windows_and_distinct_values() {
    let batches = [records(0..5), records(5..10)];
    let text = "SELECT name, count(*) AS n, sum(price) AS p FROM input GROUP BY name ORDER BY name DESC";
    assert_eq!(rows(text, &batches), ["cyd|3|7.5", "bob|3|2.5", "ann|4|7.5"]);
    assert_eq!(rows("SELECT DISTINCT name FROM input ORDER BY name", &batches), ["ann", "bob", "cyd"]);
    let text =
        "SELECT id, row_number() OVER (PARTITION BY name ORDER BY id DESC) AS n FROM input QUALIFY n = 1 ORDER BY id";
    assert_eq!(rows(text, &batches), ["7|1", "8|1", "9|1"]);
    assert_eq!(rows("SELECT id FROM input ORDER BY price DESC NULLS LAST, id LIMIT 2", &batches), ["9", "8"]);
}

#[test]
fn records_that_are_read_several_times_are_all_there_each_time() {
    let batches: Vec<RecordBatch> = (0..40).map(|n| records(n * 1_000..(n + 1) * 1_000)).collect();
    let text = "SELECT a.id FROM input AS a JOIN input AS b ON a.id = b.id + 1 WHERE b.id >= 39990 ORDER BY a.id";
    let expected: Vec<String> = (39_991..40_000).map(|id| id.to_string()).collect();
    assert_eq!(rows(text, &batches), expected);
    assert_eq!(
        rows("SELECT id FROM input WHERE id > (SELECT max(id) - 2 AS m FROM input)", &batches),
        ["39998", "39999"]
    );
    let text = "SELECT count(*) AS n FROM (SELECT id FROM input UNION ALL SELECT id FROM input)";
    assert_eq!(rows(text, &batches), ["80000"]);
    let text = "WITH t AS (SELECT id % 10 AS d FROM input) SELECT count(*) AS n FROM t AS a JOIN t AS b ON a.d = b.d WHERE a.d = 3";
    assert_eq!(rows(text, &batches), ["16000000"]);
    let text = "WITH RECURSIVE t AS (SELECT 0 AS n UNION ALL SELECT n + 1 AS n FROM t WHERE n < 3) SELECT t.n, i.name FROM t JOIN input AS i ON i.id = t.n ORDER BY t.n";
    assert_eq!(rows(text, &batches), ["0|ann", "1|bob", "2|cyd", "3|ann"]);
    let text = "SELECT i.id, v.word FROM input AS i JOIN (VALUES (1, 'one'), (2, 'two')) AS v(n, word) ON i.id = v.n ORDER BY 1";
    assert_eq!(rows(text, &batches), ["1|one", "2|two"]);
    // The left side stands in memory, the right one passes: also where no column is equal.
    let text = "SELECT count(*) AS n FROM input AS i JOIN (VALUES (1), (2)) AS v(n) ON i.id < v.n";
    assert_eq!(rows(text, &batches), ["3"]);
}

#[test]
fn what_is_kept_goes_to_disk_beyond_its_budget_and_comes_back() {
    let schema: Schema = COLUMNS.parse().unwrap();
    for held in [0, 100_000, usize::MAX] {
        let source = super::source::Source::new(&schema.to_arrow(), super::source::Reading::Again, held);
        for n in 0..20 {
            source.keep(records(n * 500..(n + 1) * 500)).unwrap();
        }
        source.seal().unwrap();
        // Two readers at once, one a step behind the other.
        let (mut one, mut other) = (Arc::clone(&source).open(), source.open());
        let mut read = 0;
        futures::executor::block_on(async {
            use futures::StreamExt;
            while let Some(batch) = one.next().await {
                let batch = batch.unwrap();
                assert_eq!(batch, records(read..read + 500), "{held}");
                assert_eq!(other.next().await.unwrap().unwrap(), batch, "{held}");
                read += 500;
            }
        });
        assert_eq!(read, 10_000);
    }
}

#[test]
fn of_nothing_comes_what_sql_says() {
    for batches in [&[][..], &[records(0..0)][..]] {
        assert!(rows("SELECT id FROM input", batches).is_empty());
        assert_eq!(rows("SELECT count(*) AS n, max(id) AS m FROM input", batches), ["0|∅"]);
        assert!(rows("SELECT name, count(*) AS n FROM input GROUP BY name", batches).is_empty());
        assert!(rows("SELECT a.id FROM input AS a JOIN input AS b USING (id)", batches).is_empty());
    }
    assert!(rows("SELECT id FROM input WHERE false", &[records(0..10)]).is_empty());
    assert!(rows("SELECT id FROM input LIMIT 0", &[records(0..10)]).is_empty());
}

#[test]
fn errors_of_records_say_what_to_do() {
    let fail = |text: &str| {
        let sql = plan(text).unwrap_or_else(|failure| panic!("{text}: {failure:?}"));
        let error = ask(&sql, &[records(0..10)]).expect_err(text);
        assert_eq!(error.kind, Kind::Data, "{text}: {error:?}");
        (error.failure.error, error.failure.hint.unwrap())
    };
    let (error, hint) = fail("SELECT 10 / (id - 3) AS q FROM input");
    assert_eq!(error, "`sql`: a division by zero");
    assert!(hint.contains("NULLIF(b, 0)"), "{hint}");
    let (error, hint) = fail("SELECT CAST(name AS BIGINT) AS n FROM input");
    assert!(error.contains("ann"), "{error}");
    assert!(hint.contains("TRY_CAST"), "{hint}");
    for text in [
        "SELECT id + 9223372036854775800 AS n FROM input",
        "SELECT -9223372036854775800 - id AS n FROM input",
        "SELECT id * 9223372036854775000 AS n FROM input",
        "SELECT CAST(id AS SMALLINT) + 9223372036854775800 AS n FROM input",
        "SELECT id FROM input WHERE id + 9223372036854775800 > 0",
    ] {
        let (error, hint) = fail(text);
        assert!(error.to_lowercase().contains("overflow"), "{text}: {error}");
        assert!(hint.contains("DECIMAL(38, 0)"), "{hint}");
    }
    let (error, hint) = fail("SELECT CAST(id + 130 AS TINYINT) AS n FROM input");
    assert!(error.contains("130") && hint.contains("TRY_CAST"), "{error} {hint}");
    // The remedies work.
    assert_eq!(rows("SELECT 10 / NULLIF(id, 0) AS q FROM input LIMIT 2", &[records(0..3)]), ["∅", "10"]);
    assert_eq!(rows("SELECT TRY_CAST(name AS BIGINT) AS n FROM input LIMIT 1", &[records(0..3)]), ["∅"]);
    let text = "SELECT CAST(id AS DECIMAL(38, 0)) + 9223372036854775807 AS n FROM input LIMIT 2";
    assert_eq!(rows(text, &[records(0..3)]), ["9223372036854775807", "9223372036854775808"]);
}

#[test]
fn arithmetic_of_whole_numbers_is_what_it_was() {
    let found =
        rows("SELECT id + 1 AS a, id - 10 AS b, id * 3 AS c, -id AS d, id % 2 AS e FROM input", &[records(4..6)]);
    assert_eq!(found, ["5|-6|12|-4|0", "6|-5|15|-5|1"]);
    assert_eq!(
        rows("SELECT id + 1 AS k, count(*) AS n FROM input GROUP BY id + 1 ORDER BY id + 1", &[records(0..2)]),
        ["1|1", "2|1"]
    );
    assert_eq!(rows("SELECT id + 0.5 AS a, price * 2 AS b FROM input", &[records(1..2)]), ["1.5|1.0"]);
    assert_eq!(
        rows("SELECT CAST('2024-01-31' AS DATE) + INTERVAL '1 month' AS d FROM input", &[records(0..1)]),
        ["2024-02-29"]
    );
}

#[test]
fn a_sort_that_is_larger_than_its_memory_spills_and_a_join_says_so() {
    let input: Schema = "id: int64, name: text".parse().unwrap();
    let wide = |ids: std::ops::Range<i64>| {
        let name = |id: i64| format!("{:0>200}", (id * 7_919) % 1_000_003);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(ids.clone())),
            Arc::new(StringArray::from_iter_values(ids.map(name))),
        ];
        RecordBatch::try_new(input.to_arrow(), columns).unwrap()
    };
    let batches: Vec<RecordBatch> = (0..50).map(|n| wide(n * 8_000..(n + 1) * 8_000)).collect();
    let bytes: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
    assert!(bytes > 2 * (32 << 20), "{bytes}");
    let sql = Sql::try_new("SELECT id, name FROM input ORDER BY name", &input, 0).unwrap();
    let (rows, _) = ask(&sql, &batches).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(rows.len(), 400_000);
    assert!(rows.is_sorted_by_key(|row| row.split_once('|').unwrap().1.to_owned()));
    let sql =
        Sql::try_new("SELECT count(*) AS n FROM input AS a JOIN input AS b ON a.name = b.name", &input, 0).unwrap();
    let error = ask(&sql, &batches).expect_err("it does not fit");
    assert!(error.failure.error.starts_with("`sql`: the query needs more memory than it may take"), "{error:?}");
    assert!(error.failure.hint.unwrap().contains("--memory"));
}

#[test]
fn a_query_that_is_given_up_leaves_nothing_that_waits() {
    let sql = plan("SELECT name, count(*) AS n FROM input GROUP BY name ORDER BY n").unwrap();
    let mut query = sql.begin().unwrap();
    query.push(&records(0..20_000), &mut |_| Ok(())).unwrap();
    drop(query);
    // An error of whoever takes rows comes back as it is.
    let sql = plan("SELECT id FROM input").unwrap();
    let mut query = sql.begin().unwrap();
    let error = query.push(&records(0..20_000), &mut |_| Err(TaskError::data("enough", None))).unwrap_err();
    assert_eq!(error.failure.error, "enough");
}

#[test]
fn what_needs_no_columns_is_checked_without() {
    assert!(check("SELECT anything FROM input").is_ok());
    assert!(check("SELECT anything FROM other").is_err());
    let deep = format!("SELECT id FROM input WHERE {}true{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(check(&deep).unwrap_err().error.contains("nests too deeply"));
    // A long chain nests to the left, as deep as it is long.
    let long = format!("SELECT id FROM input WHERE {}id = 1", "id = 2 OR ".repeat(300));
    assert_eq!(rows(&long, &[records(0..5)]), ["1", "2"]);
}

/// In a thread as small as those that write.
#[test]
fn queries_of_many_terms_are_planned_and_asked_or_refused_but_never_overflow() {
    let small = std::thread::Builder::new().stack_size(2 << 20);
    let asked = small.spawn(|| {
        let terms = |term: &str, operators: usize, per: usize| vec![term; operators / per + 1].join(" OR ");
        let text = |condition: &str| format!("SELECT id FROM input WHERE {condition}");
        for term in ["id = 3", "price + 0.5 > 1", "NOT name = 'ann'"] {
            let per = 1 + term.split(' ').filter(|word| ["=", "+", ">", "NOT"].contains(word)).count();
            let (few, many) = (terms(term, 990, per), terms(term, 1_010, per));
            assert_eq!(rows(&text(term), &[records(0..9)]), rows(&text(&few), &[records(0..9)]), "{term}");
            let refused = plan(&text(&many)).err().unwrap();
            assert!(refused.error.ends_with("operators, 1000 are the most"), "{refused:?}");
            assert!(check(&text(&many)).is_err());
        }
        // What lies side by side is not deep.
        let listed: Vec<String> = (0..20_000).map(|id| id.to_string()).collect();
        let text = text(&format!("id IN ({})", listed.join(", ")));
        assert_eq!(rows(&text, &[records(19_999..20_001)]), ["19999"]);
        for (open, close) in [("(", ")"), ("abs(", ")"), ("CASE WHEN true THEN ", " END"), ("- ", ""), ("NOT ", "")] {
            let nested = format!("SELECT {}id{} AS id FROM input", open.repeat(20_000), close.repeat(20_000));
            assert!(plan(&nested).is_err(), "{open}");
        }
    });
    asked.unwrap().join().unwrap();
}
