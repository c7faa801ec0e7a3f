"""Reads every output back with pyarrow and compares it with the sources, row for row and type for type.

    check.py DIRECTORY

What is right is computed here from the sources by other code than Baler's: `csv` reads them, `datetime` cuts the time.
"""

import csv
import datetime
import gzip
import io
import json
import pathlib
import sys

import pyarrow
import pyarrow.ipc
import pyarrow.parquet

TYPES = {"int": pyarrow.int64(), "float": pyarrow.float64(), "str": pyarrow.string(), "bool": pyarrow.bool_()}
READ = {"int": int, "float": float, "str": str, "bool": lambda text: {"true": True, "false": False}[text]}
# Where each size of partition lies: by directories named for Athena, or by year for the data client.
LAYOUTS = {
    "hour": "athena/hour/{set}/hour_partition={at:%Y-%m-%d %H:%M:%S}/{epoch}.parquet",
    "month": "athena/month/{set}/month_partition={at:%Y-%m-%d}/{epoch}.parquet",
    "day": "dataclient/day/{set}/year={at:%Y}/{epoch}.arrow.zst",
    "year": "dataclient/year/{set}/year={at:%Y}/{epoch}.arrow.lz4",
}
CODECS = {".zst": "zstd", ".lz4": "lz4"}


def floor(second: int, size: str) -> datetime.datetime:
    at = datetime.datetime.fromtimestamp(second, datetime.timezone.utc).replace(minute=0, second=0)
    if size != "hour":
        at = at.replace(hour=0)
    if size in ("month", "year"):
        at = at.replace(day=1)
    return at.replace(month=1) if size == "year" else at


def rows_of(dataset: pathlib.Path, type_map: dict) -> list[dict]:
    """All records of a data set; an empty field of a number or a flag is null."""
    rows = []
    for path in sorted(dataset.glob("year=*/*.csv.gz"), key=lambda path: int(path.name.split(".")[0])):
        for row in csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode(), newline="")):
            rows.append({name: READ[type_map[name]](text) if text else None for name, text in row.items()})
    return rows


def read(path: pathlib.Path) -> pyarrow.Table:
    if path.suffix == ".parquet":
        with pyarrow.parquet.ParquetFile(path) as file:
            codecs = {file.metadata.row_group(0).column(at).compression for at in range(file.metadata.num_columns)}
            if codecs != {"SNAPPY"}:
                raise SystemExit(f"check: `{path}` is compressed by {codecs}, not snappy")
            return file.read()
    with pyarrow.input_stream(path, compression=CODECS[path.suffix]) as file:
        return pyarrow.ipc.open_stream(file).read_all()


def main() -> None:
    root = pathlib.Path(sys.argv[1])
    right: dict[pathlib.Path, list[dict]] = {}
    schemas, keys = {}, {}
    copied: set[pathlib.Path] = set()
    records = 0
    for metadata in sorted((root / "gz").rglob("METADATA.json")):
        said = json.loads(metadata.read_text())
        name = str(metadata.parent.relative_to(root / "gz"))
        rows = rows_of(metadata.parent, said["type_map"])
        records += len(rows)
        for copies in (root / "dataclient").iterdir():
            copy = copies / name / metadata.name
            if copy.read_bytes() != metadata.read_bytes():
                raise SystemExit(f"check: `{copy}` is not what `{metadata}` is")
            copied.add(copy)
        for size, layout in LAYOUTS.items():
            for row in rows:
                at = floor(row["target_start"], size)
                path = root / layout.format(set=name, at=at, epoch=int(at.timestamp()))
                right.setdefault(path, []).append(row)
                schemas[path] = pyarrow.schema([(column, TYPES[kind]) for column, kind in said["type_map"].items()])
                keys[path] = [(column, "ascending") for column in said["superkey"]]
    made = {path for place in ["athena", "dataclient"] for path in (root / place).rglob("*") if path.is_file()}
    wanted = set(right) | copied
    if made != wanted:
        raise SystemExit(f"check: too many {sorted(made - wanted)[:3]}, missing {sorted(wanted - made)[:3]}")
    for path, rows in sorted(right.items()):
        table = read(path)
        if table.schema.remove_metadata() != schemas[path]:
            raise SystemExit(f"check: `{path}` has the columns\n{table.schema}\nwhich should be\n{schemas[path]}")
        table = table.replace_schema_metadata(None)
        expected = pyarrow.Table.from_pylist(rows, schema=schemas[path])
        if not expected.sort_by(keys[path]).equals(table.sort_by(keys[path])):
            raise SystemExit(f"check: the records of `{path}` are not those of its sources")
    sizes = [sum(f"/{size}/" in str(path) for path in right) for size in LAYOUTS]
    counted = ", ".join(f"{count} of {size}s" for size, count in zip(LAYOUTS, sizes))
    print(f"check: {records} records in every size, {len(right)} objects ({counted}): all as in the sources")


if __name__ == "__main__":
    main()
