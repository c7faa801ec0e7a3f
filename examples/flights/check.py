"""Reads the months of Parquet back with pyarrow and compares them with the hourly objects, record for record.

    check.py DIRECTORY
"""

import collections
import datetime
import json
import pathlib
import sys

import pyarrow
import pyarrow.parquet

TEXT = ["carrier", "tailnum", "origin", "dest"]
NUMBERS = ["year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay"]
NUMBERS += ["flight", "air_time", "distance", "hour", "minute"]
TYPES = {name: pyarrow.string() for name in TEXT} | {name: pyarrow.int64() for name in NUMBERS}
TYPES["time_hour"] = pyarrow.timestamp("ms", "UTC")


def hourly(root: pathlib.Path) -> dict[pathlib.Path, list[dict]]:
    """The records as they should come out, by the object that should hold them."""
    right = collections.defaultdict(list)
    for path in sorted((root / "hourly").rglob("*.jsonl")):
        year, month = path.parts[-4:-2]
        for line in path.read_text().splitlines():
            record = json.loads(line)
            record["time_hour"] = datetime.datetime.fromisoformat(record["time_hour"])
            right[root / "parquet" / f"month={year}-{month}" / "flights.parquet"].append(record)
    return right


def main() -> None:
    root = pathlib.Path(sys.argv[1])
    right = hourly(root)
    made = {path for path in (root / "parquet").rglob("*") if path.is_file()}
    if made != set(right):
        raise SystemExit(f"check: too many {sorted(made - set(right))[:3]}, missing {sorted(set(right) - made)[:3]}")
    for path, records in right.items():
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
        found = {field.name: field.type for field in table.schema}
        if found != TYPES:
            raise SystemExit(f"check: `{path}` has the columns {found}, which should be {TYPES}")
        # No column is a key: all of them are.
        by = [(name, "ascending") for name in TYPES]
        expected = pyarrow.Table.from_pylist(records, schema=pyarrow.schema(TYPES.items()))
        table = table.replace_schema_metadata(None).select(list(TYPES))
        if not expected.sort_by(by).equals(table.sort_by(by)):
            raise SystemExit(f"check: the records of `{path}` are not those of its hours")
    count = sum(len(records) for records in right.values())
    print(f"check: {len(right)} objects of Parquet with {count} flights: all as in the hourly objects")


if __name__ == "__main__":
    main()
