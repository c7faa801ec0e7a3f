//! `sql` from the command line: in a build with SQL what comes out, in one without the refusal.

use crate::bench::Bench;

const SOLD: &str = r#"
version = 1
[stores]
lake = "./data"
[flows.sold]
do = "convert"
from = "lake:in/{day:%Y-%m-%d}.jsonl"
schema = { columns = { id = "int64", shop = "text", price = "float64" } }
sql = "SELECT shop, count(*) AS n, sum(price) AS price FROM input WHERE price > 0 GROUP BY shop ORDER BY shop"
to = { path = "lake:out/{partition:%Y-%m}.csv", partition = "month" }
"#;

fn filled() -> Bench {
    let bench = Bench::new(SOLD);
    let line = |id: u64, shop: &str, price: f64| format!("{{\"id\":{id},\"shop\":\"{shop}\",\"price\":{price}}}\n");
    bench.write("data/in/2026-01-01.jsonl", line(1, "a", 1.5) + &line(2, "b", 0.0));
    bench.write("data/in/2026-01-02.jsonl", line(3, "a", 2.0) + "{\"id\":\"x\"}\n");
    bench
}

#[cfg(feature = "sql")]
#[test]
fn what_comes_out_of_a_query_is_shown_counted_and_verified() {
    let bench = filled();
    let done = bench.baler(&["check"]);
    assert_eq!(done.code, 0, "{done:?}");
    let done = bench.baler(&["preview", "sold"]);
    assert_eq!(done.stdout, "{\"shop\":\"a\",\"n\":2,\"price\":3.5}\n", "{done:?}");
    let columns = "columns (of `sql`, over declared columns): shop: text, n: int64, price: float64";
    assert!(done.stderr.contains(columns), "{done:?}");
    let (code, reports) = bench.run_json(&[]);
    assert_eq!(code, 3, "{reports:?}");
    let account = &reports[0]["account"];
    let counts = ["records_in", "sql_in", "sql_out", "records_out", "quarantined"].map(|name| account[name].as_u64());
    assert_eq!(counts, [4, 3, 1, 1, 1].map(Some), "{account}");
    assert_eq!(bench.read("data/out/2026-01.csv"), "shop,n,price\na,2,3.5\n");
    assert_eq!(bench.baler(&["verify", &bench.last_run()]).code, 0);
    let done = bench.baler(&["show", "sold"]);
    let columns = "columns  shop: text, n: int64, price: float64 (of `sql`, over declared columns)";
    assert!(done.stdout.contains(columns), "{done:?}");
    let done = bench.baler(&["show", &bench.last_run()]);
    assert!(done.stdout.contains("4 records in, 1 set aside, 3 into SQL, 1 out of it"), "{done:?}");
    assert_eq!(bench.baler(&["runs"]).code, 0);
}

#[cfg(feature = "sql")]
#[test]
fn a_query_that_cannot_be_is_told_with_a_hint() {
    let bench = filled();
    bench.write("baler.toml", SOLD.replace("sum(price)", "sum(prise)"));
    for verb in ["check", "plan", "run"] {
        let done = bench.baler(&[verb]);
        assert!(matches!(done.code, 1 | 2), "{verb}: {done:?}");
        assert!(done.stderr.contains("there is no column `prise`"), "{verb}: {done:?}");
        assert!(done.stderr.contains("hint: did you mean `price`?"), "{verb}: {done:?}");
    }
    bench.write("baler.toml", SOLD.replace("sum(price)", "sum(CAST(1 / (id - 3) AS DOUBLE))"));
    let done = bench.baler(&["run"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("`sql`: a division by zero") && done.stderr.contains("NULLIF"), "{done:?}");
    assert!(!bench.exists("data/out/2026-01.csv"));
}

#[cfg(feature = "sql")]
#[test]
fn what_a_step_of_sql_leaves_out_is_counted() {
    let bench = Bench::new(
        "version = 1\n[flows.sold]\ndo = \"scatter\"\nfrom = \"./data/in/{n:int}.jsonl\"\n\
         each = { sql = \"SELECT id FROM input WHERE price > 1\" }\nto = \"./data/out/{n}.jsonl\"\n",
    );
    bench.write("data/in/1.jsonl", "{\"id\":1,\"price\":1}\n{\"id\":2,\"price\":2}\n{\"id\":3,\"price\":3}\n");
    let done = bench.baler(&["run"]);
    assert_eq!(done.code, 0, "{done:?}");
    let done = bench.baler(&["show", &bench.last_run()]);
    assert!(done.stdout.contains("3 records answered = 2 went through + 0 failed + 1 left out"), "{done:?}");
    assert!(bench.read("data/out/1.jsonl").contains("\"message\":\"Left out\""));
}

#[cfg(not(feature = "sql"))]
#[test]
fn a_build_without_sql_says_so_and_touches_nothing() {
    let bench = filled();
    for arguments in [&["check"][..], &["plan"], &["run"], &["preview", "sold"]] {
        let done = bench.baler(arguments);
        assert!(matches!(done.code, 1 | 2), "{arguments:?}: {done:?}");
        assert!(done.stderr.contains("the flow has `sql`, and this build has no SQL"), "{arguments:?}: {done:?}");
        assert!(done.stderr.contains("hint: build with `--features sql`"), "{arguments:?}: {done:?}");
    }
    assert!(!bench.exists("data/out/2026-01.csv"));
}
