"""Reads outputs of `convert` with pyarrow and cramjam, and compares them with the CSV that they were made of.

Usage: read_back.py DATA CODEC FORMAT,FORMAT…; prints the number of objects that were read and found right.
"""
import bz2
import datetime
import gzip
import io
import json
import sys
from decimal import Decimal
from pathlib import Path

import cramjam
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

SCHEMA = pa.schema(
    [
        pa.field("at", pa.int64()),
        pa.field("id", pa.int64()),
        pa.field("price", pa.float64()),
        pa.field("amount", pa.decimal128(9, 2)),
        pa.field("flag", pa.bool_()),
        pa.field("name", pa.string()),
        pa.field("day", pa.date32()),
    ]
)
UTC = datetime.timezone.utc


def decompress(codec, data):
    whole = {
        "none": lambda: data,
        "gzip": lambda: gzip.decompress(data),
        "bzip2": lambda: bz2.decompress(data),
        "zstd": lambda: bytes(cramjam.zstd.decompress(data)),
        "brotli": lambda: bytes(cramjam.brotli.decompress(data)),
        "lz4": lambda: bytes(cramjam.lz4.decompress(data)),
        "snappy": lambda: bytes(cramjam.snappy.decompress(data)),
    }
    return whole[codec]()


def read_csv(data):
    options = pa.csv.ConvertOptions(column_types=SCHEMA, strings_can_be_null=True, quoted_strings_can_be_null=False)
    return pa.csv.read_csv(io.BytesIO(data), convert_options=options)


def read(format, codec, path):
    data = path.read_bytes()
    if format == "parquet":
        compression = pa.parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0).compression
        wanted = {"none": "UNCOMPRESSED", "lz4": "LZ4"}.get(codec, codec.upper())
        assert compression == wanted, f"{path}: {compression} instead of {wanted}"
        return pa.parquet.read_table(io.BytesIO(data), partitioning=None)
    data = decompress(codec, data)
    if format == "arrow":
        return pa.ipc.open_stream(data).read_all()
    if format == "arrow-file":
        return pa.ipc.open_file(data).read_all()
    if format == "csv":
        return read_csv(data)
    rows = []
    text = data.decode()
    records = json.loads(text, parse_float=Decimal) if format == "json" else [
        json.loads(line, parse_float=Decimal) for line in text.splitlines()
    ]
    for row in records:
        row = {name: row.get(name) for name in SCHEMA.names}
        row["price"] = None if row["price"] is None else float(row["price"])
        row["amount"] = None if row["amount"] is None else Decimal(str(row["amount"])).quantize(Decimal("0.01"))
        row["day"] = None if row["day"] is None else datetime.date.fromisoformat(row["day"])
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def floor(second, size):
    at = datetime.datetime.fromtimestamp(second, UTC)
    cut = {"hour": 4, "day": 3, "month": 2, "year": 1}[size]
    parts = [at.year, at.month, at.day, at.hour][:cut]
    return datetime.datetime(*(parts + [1] * (3 - len(parts))), tzinfo=UTC)


def place(layout, size, start):
    epoch = int(start.timestamp())
    if layout == "hive":
        pieces = [f"year={start:%Y}", f"month={start:%m}", f"day={start:%d}", f"hour={start:%H}"]
        depth = {"hour": 4, "day": 3, "month": 2, "year": 1}[size]
        return "set=set/" + "/".join(pieces[:depth]) + "/part"
    if layout == "athena":
        value = f"{start:%Y-%m-%d %H:00:00}" if size == "hour" else f"{start:%Y-%m-%d}"
        return f"{size}_partition={value}/{epoch}"
    return f"year={start:%Y}/{epoch}"


def main():
    data, codec, formats = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
    sources = [read_csv(path.read_bytes()) for path in sorted((data / "in/set").glob("*.csv"))]
    rows = pa.concat_tables(sources).to_pylist()
    read_objects = 0
    for format in formats:
        name = "feather" if format == "arrow-file" else format
        suffix = {"none": "", "gzip": ".gz", "zstd": ".zst", "brotli": ".br", "bzip2": ".bz2", "lz4": ".lz4", "snappy": ".sz"}
        ending = name + ("" if format == "parquet" else suffix[codec])
        for size in ["hour", "day", "month", "year"]:
            partitions = {}
            for row in rows:
                partitions.setdefault(floor(row["at"], size), []).append(row)
            for layout in ["hive", "athena", "dataclient"]:
                root = data / "out" / format / size / layout
                found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
                wanted = {f"{place(layout, size, start)}.{ending}": part for start, part in partitions.items()}
                assert found == set(wanted), f"{root}: {sorted(found ^ set(wanted))}"
                for key, part in wanted.items():
                    table = read(format, codec, root / key)
                    assert table.schema.remove_metadata().types == SCHEMA.types, f"{key}: {table.schema}"
                    assert table.schema.names == SCHEMA.names, f"{key}: {table.schema}"
                    assert table.to_pylist() == part, f"{format} {codec} {key}:\n{table.to_pylist()}\n{part}"
                    read_objects += 1
    print(f"{read_objects} objects")


main()
