"""Takes the batches one record after the other, and compares table, results and summaries with what Baler made of them."""

import glob
import gzip
import json
import os
import sqlite3
import sys

directory = sys.argv[1]
table = {}
answers = failures = 0
for path in sorted(glob.glob(os.path.join(directory, "inbox", "*.json"))):
    name = os.path.basename(path)[: -len(".json")]
    with open(path, encoding="utf-8") as batch:
        records = json.load(batch)["records"]
    with gzip.open(os.path.join(directory, "outbox", name + ".json.gz"), "rt", encoding="utf-8") as result:
        result = json.load(result)
    assert result["batchId"] == name, result["batchId"]
    assert [answer["index"] for answer in result["records"]] == list(range(len(records))), name
    failed = 0
    for record, answer in zip(records, result["records"]):
        good = record["price"] >= 0
        failed += not good
        assert answer["request"] == record and answer["response"]["success"] == good, answer
        if good:
            table[record["itemNo"]] = "%.2f" % record["price"]
    with open(os.path.join(directory, "outbox", name + ".summary.json"), encoding="utf-8") as summary:
        counts = json.load(summary)["records"]
    assert counts == {"total": len(records), "succeeded": len(records) - failed, "failed": failed}, counts
    answers += len(records)
    failures += failed
rows = dict(sqlite3.connect(os.path.join(directory, "items.db")).execute("SELECT itemNo, price FROM items"))
assert rows == table, "the table differs"
print(f"check: {answers} answers in order, {failures} of them failures, {len(rows)} items with their newest price")
