//! A query as a step of `scatter`: each record is taken by itself, changed or left out, and answered.

use baler_engine::report::Status;
use serde_json::{Value, json};

use super::{PRICES, PROGRAM, answers, batch, item, result, run_one, summary, table, with_schema};
use crate::disk::Disk;

fn flow(each: &str) -> String {
    PRICES.replace("{ json_schema = \"price.schema.json\" }", each)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_changes_records_one_by_one_and_leaves_some_out() {
    let disk = with_schema();
    let records: Vec<Value> = (0..10).map(|n| item(&format!("i{n}"), f64::from(n))).collect();
    disk.write("inbox/b.json", batch(&records));
    let sql = "{ sql = \"SELECT upper(itemNo) AS itemNo, price * 2 AS price FROM input WHERE price % 3 <> 0\" }";
    let report = run_one(&disk, &flow(&format!("[{{ json_schema = \"price.schema.json\" }}, {sql}]"))).await;
    let account = &report.account;
    assert_eq!(
        [account.records_in, account.records_out, account.filtered, account.quarantined],
        [Some(10), Some(6), Some(4), Some(0)]
    );
    let rows: Vec<(String, f64)> = [1, 2, 4, 5, 7, 8].iter().map(|n| (format!("I{n}"), f64::from(*n) * 2.0)).collect();
    assert_eq!(table(&disk), rows);
    let result = result(&disk, "b");
    for (n, answer) in result["records"].as_array().unwrap().iter().enumerate() {
        assert_eq!((&answer["index"], &answer["request"]), (&json!(n), &records[n]), "a request is kept as it came");
        let message = if n % 3 == 0 { "Left out" } else { "Ok" };
        assert_eq!(answer["response"], json!({ "success": true, "message": message }));
    }
    assert_eq!(summary(&disk, "b")["records"], json!({ "total": 10, "succeeded": 6, "failed": 0, "leftOut": 4 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_a_query_fails_on_fails_alone() {
    let disk = with_schema();
    let mut records: Vec<Value> = (0..9).map(|n| json!({ "itemNo": n.to_string(), "price": 1.0 })).collect();
    records[4]["itemNo"] = json!("four");
    records[7]["itemNo"] = json!("seven");
    records[8]["price"] = json!("much");
    disk.write("inbox/b.json", batch(&records));
    let config = flow("{ sql = \"SELECT itemNo, CAST(itemNo AS BIGINT) + price AS price FROM input\" }");
    let report = run_one(&disk, &config).await;
    assert_eq!((report.account.records_out, report.account.quarantined), (Some(6), Some(3)), "{report:#?}");
    let failed: Vec<(u64, String)> = result(&disk, "b")["records"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|answer| answer["response"]["success"] == false)
        .map(|answer| (answer["index"].as_u64().unwrap(), answer["response"]["message"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(failed.iter().map(|(index, _)| *index).collect::<Vec<u64>>(), [4, 7, 8]);
    assert!(failed[0].1.contains("`sql`") && failed[0].1.contains("four"), "{failed:?}");
    assert_eq!(table(&disk).len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_has_the_columns_that_come_out_and_queries_may_follow_each_other() {
    let disk = with_schema();
    disk.write("inbox/b.json", batch(&[item("a", 1.5), item("b", 2.5)]));
    let config = flow(
        "[{ sql = \"SELECT itemNo AS n, price AS p FROM input\" }, { sql = \"SELECT n AS itemNo, p + 1 AS price FROM (SELECT n, p FROM input WHERE p > 2) AS t\" }]",
    )
    .replace("schema = { columns = { itemNo = \"text\", price = \"float64\" } }\n", "");
    run_one(&disk, &config).await;
    assert_eq!(table(&disk), [("b".into(), 3.5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_csv_are_queried_without_a_table() {
    let disk = with_schema();
    disk.write("inbox/b.csv", "itemNo,price\na,1\nb,2\n");
    let config = flow("{ sql = \"SELECT itemNo FROM input WHERE price > 1\" }")
        .replace("{batch}.json\"", "{batch}.csv\"")
        .replace("records = \"records\", ", "")
        .replace("upsert = { into = \"items\", table = \"items\", key = [\"itemNo\"], create = true }\n", "");
    run_one(&disk, &config).await;
    let result = result(&disk, "b");
    let messages: Vec<&str> = result["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| answer["response"]["message"].as_str().unwrap())
        .collect();
    assert_eq!(messages, ["Left out", "Ok"]);
}

/// A query, what the refusal says.
const REFUSED: [(&str, &str); 12] = [
    ("SELECT count(*) AS n FROM input", "sums"),
    ("SELECT itemNo FROM input GROUP BY itemNo", "GROUP BY"),
    ("SELECT DISTINCT itemNo FROM input", "DISTINCT"),
    ("SELECT * FROM input ORDER BY price", "ORDER BY"),
    ("SELECT * FROM input LIMIT 1", "LIMIT"),
    ("SELECT *, row_number() OVER () AS n FROM input", "OVER"),
    ("SELECT a.* FROM input AS a JOIN input AS b ON a.itemNo = b.itemNo", "joins"),
    ("SELECT * FROM input UNION ALL SELECT * FROM input", "UNION"),
    ("SELECT * FROM input WHERE price > (SELECT avg(price) FROM input)", "queries within the query"),
    ("SELECT itemNo FROM input", "`price`"),
    ("SELECT prise FROM input", "there is no column `prise`"),
    ("DELETE FROM input", "is no query"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_looks_at_several_records_is_refused_when_planning() {
    let disk = with_schema();
    disk.write("inbox/b.json", batch(&[item("a", 1.0)]));
    for (query, says) in REFUSED {
        // A key that does not come out is none.
        let config = flow(&format!("{{ sql = \"{query}\" }}")).replace("[\"itemNo\"]", "[\"itemNo\", \"price\"]");
        let error = disk.process(&config).run().await.unwrap_err();
        assert!(error.to_string().contains(says), "{query}: {error}");
        assert!(error.hint().is_some(), "{query}: {error}");
    }
    let report = disk.process(&flow("{ sql = \"SELECT * FROM input\" }")).run_one().await;
    assert_eq!(report.status, Status::Committed, "nothing was claimed: {report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_said_of_a_record_stands_behind_a_query_too() {
    let disk = Disk::in_memory();
    disk.write(
        "each.py",
        "import sys, json\nfor line in sys.stdin:\n    n = json.loads(line)['record']['n']\n    print(json.dumps({'success': \
         n != 3, 'message': 'n is %d' % n}), flush=True)\n",
    );
    disk.write("inbox/b.jsonl", (0..6).map(|n| format!("{{\"n\":{n}}}\n")).collect::<String>());
    let config =
        PROGRAM.replace("TIMEOUT", "20s").replace("}]", "}, { sql = \"SELECT n * 2 AS n FROM input WHERE n < 5\" }]");
    run_one(&disk, &config).await;
    let said = |success: bool, message: &str| json!({ "success": success, "message": message });
    let expected = [
        said(true, "n is 0"),
        said(true, "n is 1"),
        said(true, "n is 2"),
        said(false, "n is 3"),
        said(true, "n is 4"),
        said(true, "Left out"),
    ];
    assert_eq!(answers(&disk), expected);
}
