"""Reads what Baler wrote, and writes what Baler shall read, with pyarrow, cramjam and the standard library.

    foreign.py read DIRECTORY    reads every file of DIRECTORY/written.json and compares types and values
    foreign.py write DIRECTORY   writes files and DIRECTORY/offered.json

Values are compared in one plain form: numbers of whole units as text, floats by their bits, text as it is.
"""

import bz2
import datetime
import decimal
import gzip
import io
import json
import pathlib
import re
import struct
import sys

import cramjam
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

EPOCH = datetime.date(1970, 1, 1)
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def plain(kind, value):
    """The plain form of a value that Python holds."""
    if value is None:
        return None
    if pa.types.is_floating(kind):
        return struct.pack(">d", value).hex()
    if pa.types.is_decimal(kind):
        return str(int(decimal.Decimal(value).scaleb(kind.scale, decimal.Context(prec=80))))
    if pa.types.is_date(kind):
        return str((value - EPOCH).days)
    if pa.types.is_list(kind):
        return [plain(kind.value_type, item) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: plain(field.type, value.get(field.name)) for field in kind}
    if pa.types.is_boolean(kind):
        return value
    return str(value)


def of_array(array):
    """The plain form of an Arrow column: times by their counts, since Python's have microseconds."""
    kind = array.type
    if pa.types.is_timestamp(kind):
        return [plain(pa.int64(), value) for value in array.cast(pa.int64()).to_pylist()]
    if pa.types.is_list(kind) and pa.types.is_timestamp(kind.value_type):
        return [None if row is None else [plain(pa.int64(), item) for item in row]
                for row in array.cast(pa.list_(pa.int64())).to_pylist()]
    if pa.types.is_struct(kind):
        columns = [of_array(pa.chunked_array([chunk.field(n) for chunk in array.chunks], field.type))
                   for n, field in enumerate(kind)]
        names = [field.name for field in kind]
        valid = array.is_valid().to_pylist()
        return [dict(zip(names, row)) if is_there else None
                for is_there, row in zip(valid, zip(*columns))]
    return [plain(kind, value) for value in array.to_pylist()]


def of_table(table):
    columns = [of_array(column) for column in table.columns]
    return [list(row) for row in zip(*columns)] if columns else []


def of_json(kind, value):
    """The plain form of a value of JSON."""
    if value is None:
        return None
    if pa.types.is_date(kind):
        return plain(kind, datetime.date.fromisoformat(value))
    if pa.types.is_timestamp(kind):
        found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z?)", value)
        assert (found[6] == "Z") == (kind.tz is not None), value
        seconds = (datetime.date.fromisoformat(found[1]) - EPOCH).days * 86400
        seconds += int(found[2]) * 3600 + int(found[3]) * 60 + int(found[4])
        per_second = PER_SECOND[kind.unit]
        fraction = int((found[5] or "0").ljust(9, "0")) * per_second
        assert fraction % 10**9 == 0, value
        return str(seconds * per_second + fraction // 10**9)
    if pa.types.is_list(kind):
        return [of_json(kind.value_type, item) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: of_json(field.type, value.get(field.name)) for field in kind}
    return plain(kind, value)


def decompress(codec, data):
    if codec == "none":
        return data
    if codec == "gzip":
        return gzip.decompress(data)
    if codec == "bzip2":
        return bz2.decompress(data)
    if codec == "snappy":
        return bytes(cramjam.snappy.decompress(data))
    return pa.CompressedInputStream(pa.BufferReader(data), codec).read()


def compress(codec, data):
    if codec == "none":
        return data
    if codec == "gzip":
        return gzip.compress(data)
    if codec == "bzip2":
        return bz2.compress(data)
    if codec == "snappy":
        return bytes(cramjam.snappy.compress(data))
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def no_name(kind):
    """A list's item has another name in Parquet."""
    return str(kind).replace("<element: ", "<item: ")


def read_one(path, entry, schema):
    data = path.read_bytes()
    if entry["format"] == "parquet":
        table = pa.parquet.read_table(pa.BufferReader(data))
        codec = pa.parquet.ParquetFile(pa.BufferReader(data)).metadata.row_group(0).column(0).compression
        wanted = {"none": "UNCOMPRESSED", "lz4": "LZ4"}.get(entry["codec"], entry["codec"].upper())
        assert codec == wanted, f"{codec} instead of {wanted}"
        return table
    data = decompress(entry["codec"], data)
    if entry["format"] == "arrow-stream":
        return pa.ipc.open_stream(data).read_all()
    if entry["format"] == "arrow-file":
        return pa.ipc.open_file(pa.BufferReader(data)).read_all()
    assert entry["format"] == "csv"
    options = pa.csv.ConvertOptions(column_types=schema, null_values=[""], strings_can_be_null=True,
                                    quoted_strings_can_be_null=False, true_values=["true"], false_values=["false"])
    parsing = pa.csv.ParseOptions(newlines_in_values=True)
    return pa.csv.read_csv(pa.BufferReader(data), parse_options=parsing, convert_options=options)


def read(directory):
    manifest = json.loads((directory / "written.json").read_text())
    for entry in manifest:
        path = directory / entry["path"]
        schema = pa.ipc.open_stream((directory / entry["schema"]).read_bytes()).schema
        try:
            if entry["format"] in ("jsonl", "json"):
                text = decompress(entry["codec"], path.read_bytes()).decode()
                parse = lambda text: json.loads(text, parse_float=float)
                records = [parse(line) for line in text.split("\n")[:-1]] if entry["format"] == "jsonl" else parse(text)
                rows = [[of_json(field.type, record.get(field.name)) for field in schema] for record in records]
            else:
                table = read_one(path, entry, schema)
                assert table.schema.names == schema.names, table.schema.names
                for field in schema:
                    found = table.schema.field(field.name)
                    assert no_name(found.type) == no_name(field.type), f"{field.name}: {found.type}, not {field.type}"
                rows = of_table(table)
            assert len(rows) == len(entry["rows"]), f"{len(rows)} rows instead of {len(entry['rows'])}"
            for n, (found, wanted) in enumerate(zip(rows, entry["rows"])):
                assert found == wanted, f"row {n}: {found} instead of {wanted}"
        except Exception as error:
            raise SystemExit(f"{entry['path']}: {type(error).__name__}: {error}") from error
    print(len(manifest), "files read")


def table():
    d = decimal.Decimal
    return pa.table({
        "i": pa.array([1, None, -(2**63), 2**63 - 1], pa.int64()),
        "small": pa.array([1, None, -128, 127], pa.int8()),
        "u": pa.array([0, None, 7, 2**32 - 1], pa.uint32()),
        "f": pa.array([0.1, None, -1e300, 5e-324], pa.float64()),
        "f32": pa.array([0.5, None, -1.25, 3.0], pa.float32()),
        "b": pa.array([True, None, False, True]),
        "t": pa.array(["plain", None, "", "q\"uote, line\nend é🦀"]),
        "d": pa.array([d("1.50"), None, d("-9999999999.99"), d("0.00")], pa.decimal128(12, 2)),
        "y": pa.array([datetime.date(2020, 2, 29), None, datetime.date(1969, 12, 31), datetime.date(9999, 12, 31)]),
        "z": pa.array([0, None, -1, 1577836800123], pa.timestamp("ms", "UTC")),
        "n": pa.array([0, None, -1, 1577836800123456789], pa.timestamp("ns")),
    })


NESTED = {
    "l": pa.array([[1, None], None, [], [3]], pa.list_(pa.int64())),
    "s": pa.array([{"x": 1, "y": "a"}, None, {"x": None, "y": None}, {"x": 2, "y": "b"}],
                  pa.struct([("x", pa.int64()), ("y", pa.string())])),
    "ls": pa.array([[{"x": 1}], None, [], [None, {"x": None}]], pa.list_(pa.struct([("x", pa.int32())]))),
    "large": pa.array(["a", None, "b", "c"], pa.large_string()),
    "dict": pa.array(["a", None, "b", "a"]).dictionary_encode(),
}
SCALARS = ("i: int64, small: int64, u: int64, f: float64, f32: float64, b: bool, t: text, d: decimal(12,2), y: date, "
           "z: timestamp(ms, UTC), n: timestamp(ns)")
COLUMNS = SCALARS + (", l: list(int64), s: struct(x: int64, y: text), ls: list(struct(x: int64)), large: text, dict: text")


def write(directory):
    offered = []
    scalars = table()
    nested = scalars
    for name, column in NESTED.items():
        nested = nested.append_column(name, column)

    def offer(name, form, codec, data, source, schema, records=()):
        (directory / name).write_bytes(data)
        rows = of_table(source.set_column(len(source.column_names) - 1, "dict", source["dict"].cast(pa.string()))
                        if "dict" in source.column_names else source)
        offered.append({"path": name, "format": form, "codec": codec, "schema": schema, "rows": rows,
                        "records": list(records)})

    variants = {
        "snappy": {"compression": "snappy"},
        "gzip": {"compression": "gzip"},
        "brotli": {"compression": "brotli"},
        "zstd-pages-2": {"compression": "zstd", "data_page_version": "2.0"},
        "lz4": {"compression": "lz4"},
        "none-checksums": {"compression": "none", "write_page_checksum": True},
        "plain": {"use_dictionary": False, "write_statistics": False},
        "delta": {"use_dictionary": False, "column_encoding": {"i": "DELTA_BINARY_PACKED", "t": "DELTA_BYTE_ARRAY"}},
        "small-groups": {"row_group_size": 1},
        "no-arrow-schema": {"store_schema": False},
    }
    for name, options in variants.items():
        sink = io.BytesIO()
        pa.parquet.write_table(nested, sink, **options)
        offer(f"{name}.parquet", "parquet", "none", sink.getvalue(), nested, COLUMNS)
    # What older writers wrote for times. It has no zone and no unit but nanoseconds.
    sink = io.BytesIO()
    pa.parquet.write_table(scalars.select(["n"]), sink, use_deprecated_int96_timestamps=True)
    offer("int96.parquet", "parquet", "none", sink.getvalue(), scalars.select(["n"]), "n: timestamp(ns)")

    containers = {"arrow-stream": pa.ipc.new_stream, "arrow-file": pa.ipc.new_file}
    for form, container in containers.items():
        for within in (None, "lz4", "zstd"):
            sink = io.BytesIO()
            with container(sink, nested.schema, options=pa.ipc.IpcWriteOptions(compression=within)) as writer:
                writer.write_table(nested, max_chunksize=3)
            offer(f"{within}.{form}", form, "none", sink.getvalue(), nested, COLUMNS)
            for codec in ("gzip", "zstd", "brotli", "bzip2", "lz4", "snappy"):
                offer(f"{within}.{form}.{codec}", form, codec, compress(codec, sink.getvalue()), nested, COLUMNS)

    sink = io.BytesIO()
    pa.csv.write_csv(scalars, sink)
    lines = "".join(json.dumps(record) + "\n" for record in [
        {"i": 1, "t": "plain", "f": 0.1, "l": [1, None], "s": {"x": 1, "y": "a"}},
        {"t": None},
        {"s": {"x": None}, "l": [], "t": "", "i": -(2**63), "f": -1e300},
        {"i": 2**63 - 1, "t": "q\"uote, line\nend é🦀", "f": 5e-324, "l": [3], "s": {"y": "b", "x": 2}},
    ]).encode()
    columns = "i: int64, f: float64, t: text, l: list(int64), s: struct(x: int64, y: text)"
    json_table = pa.table({
        "i": scalars["i"], "f": scalars["f"], "t": scalars["t"], "l": NESTED["l"], "s": NESTED["s"],
    })
    for codec in ("none", "gzip", "zstd", "brotli", "bzip2", "lz4", "snappy"):
        offer(f"pyarrow.csv.{codec}", "csv", codec, compress(codec, sink.getvalue()), scalars, SCALARS)
        offer(f"python.jsonl.{codec}", "jsonl", codec, compress(codec, lines), json_table, columns)
        records = [json.loads(line) for line in lines.splitlines()]
        for name, document, path in [
            ("array", records, []),
            ("document", {"before": {"a": [{"i": 7}]}, "a": {"b": [1], "records": records}, "z": None}, ["a", "records"]),
        ]:
            for indent in (None, 2):
                text = json.dumps(document, indent=indent, ensure_ascii=indent is None).encode()
                offer(f"{name}{indent}.json.{codec}", "json", codec, compress(codec, text), json_table, columns, path)
        if codec not in ("none", "brotli"):
            # Each line a member, frame or stream of its own.
            members = b"".join(compress(codec, line) for line in lines.splitlines(keepends=True))
            offer(f"members.jsonl.{codec}", "jsonl", codec, members, json_table, columns)
    (directory / "offered.json").write_text(json.dumps(offered))
    print(len(offered), "files written")


if __name__ == "__main__":
    {"read": read, "write": write}[sys.argv[1]](pathlib.Path(sys.argv[2]))
