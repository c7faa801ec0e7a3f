"""Writes the same three records in every format with every codec, with pyarrow, cramjam and the standard library.

Usage: write_for.py DIRECTORY; prints the number of objects that were written.
"""
import bz2
import csv
import datetime
import gzip
import io
import json
import sys
from decimal import Decimal
from pathlib import Path

import cramjam
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

UTC = datetime.timezone.utc
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("price", pa.float64()),
        pa.field("amount", pa.decimal128(9, 2)),
        pa.field("flag", pa.bool_()),
        pa.field("name", pa.string()),
        pa.field("day", pa.date32()),
        pa.field("at", pa.timestamp("ms", tz="UTC")),
    ]
)
ROWS = [
    {
        "id": 1,
        "price": 1.5,
        "amount": Decimal("12.30"),
        "flag": True,
        "name": 'a, "b" ü🦀',
        "day": datetime.date(2024, 2, 29),
        "at": datetime.datetime(2024, 12, 31, 23, 59, 59, 123000, UTC),
    },
    {"id": 2, "name": "x\ny"},
    {
        "id": -(2**63),
        "price": 5e-324,
        "amount": Decimal("-9999999.99"),
        "flag": False,
        "name": "z",
        "day": datetime.date(1969, 12, 31),
        "at": datetime.datetime(1969, 12, 31, 23, 59, 59, 999000, UTC),
    },
]
CODECS = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: bytes(cramjam.zstd.compress(data)),
    ".br": lambda data: bytes(cramjam.brotli.compress(data)),
    ".lz4": lambda data: bytes(cramjam.lz4.compress(data)),
    ".sz": lambda data: bytes(cramjam.snappy.compress(data)),
}


def text(value):
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="milliseconds")
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


def plain(row):
    return {name: value if isinstance(value, (int, float, str)) else text(value) for name, value in row.items()}


def ipc(container):
    sink = io.BytesIO()
    with container(sink, SCHEMA) as writer:
        writer.write_table(TABLE, max_chunksize=2)
    return sink.getvalue()


def as_csv():
    sink = io.StringIO()
    writer = csv.DictWriter(sink, SCHEMA.names)
    writer.writeheader()
    for row in ROWS:
        writer.writerow({name: text(value) for name, value in row.items()})
    return sink.getvalue().encode()


TABLE = pa.Table.from_pylist(ROWS, schema=SCHEMA)


def main():
    to = Path(sys.argv[1])
    to.mkdir(parents=True)
    written = 0
    formats = {
        "jsonl": "".join(json.dumps(plain(row), ensure_ascii=False) + "\n" for row in ROWS).encode(),
        "json": json.dumps({"n": 3, "a": {"records": [plain(row) for row in ROWS]}}, indent=1).encode(),
        "csv": as_csv(),
        "arrow": ipc(pa.ipc.new_stream),
        "feather": ipc(pa.ipc.new_file),
    }
    for format, data in formats.items():
        for suffix, compress in CODECS.items():
            (to / f"x.{format}{suffix}").write_bytes(compress(data))
            written += 1
    for codec in ["none", "snappy", "gzip", "zstd", "brotli", "lz4"]:
        pa.parquet.write_table(TABLE, to / f"{codec}.parquet", compression=codec)
        written += 1
    print(written)


main()
