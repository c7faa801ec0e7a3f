"""Compares what a side made with its sources, row for row: `check.py JOB`, in a process of its own.

Both are read by pyarrow, which is no part of Baler. Where the output is one file that has the sources' order it is
compared as a stream; else both are sorted by `id`, which is unique. Prints rows, files, bytes and whether the order held.
"""

import concurrent.futures
import json
import pathlib
import sys

import numpy
import pyarrow
import pyarrow.csv
import pyarrow.fs
import pyarrow.json
import pyarrow.parquet

TYPES = {
    "int64": pyarrow.int64(),
    "float64": pyarrow.float64(),
    "bool": pyarrow.bool_(),
    "text": pyarrow.string(),
    "timestamp(us, UTC)": pyarrow.timestamp("us", "UTC"),
}


def partition_of(path: str, by: str) -> str:
    """The value of `by=value/` in a path."""
    return next(piece.split("=", 1)[1] for piece in path.split("/") if piece.startswith(f"{by}="))


class Sources:
    """The records as they should come out, file by file."""

    def __init__(self, job: dict, files: pyarrow.fs.FileSystem):
        self.job, self.files = job, files
        self.schema = pyarrow.schema({name: TYPES[kind] for name, kind in job["columns"].items()})
        if job.get("s3"):
            self.paths = listed(files, job["sources"], ".jsonl")
        else:
            self.paths = job["inputs"]

    def read(self, path: str) -> pyarrow.Table:
        with self.files.open_input_stream(path, compression="gzip" if path.endswith(".gz") else None) as file:
            if self.job["format"] == "csv":
                options = pyarrow.csv.ConvertOptions(column_types=self.schema)
                return pyarrow.csv.read_csv(file, convert_options=options)
            options = pyarrow.json.ParseOptions(explicit_schema=self.schema, unexpected_field_behavior="error")
            table = pyarrow.json.read_json(file, parse_options=options)
        if self.job.get("from_key"):
            by = self.job["by"]
            table = table.append_column(by, pyarrow.array([partition_of(path, by)] * len(table), "string"))
        return table

    def tables(self):
        with concurrent.futures.ThreadPoolExecutor(16 if self.job.get("s3") else 1) as pool:
            # A few at a time: a year does not fit into memory.
            for at in range(0, len(self.paths), 64 if self.job.get("s3") else 1):
                yield from pool.map(self.read, self.paths[at : at + (64 if self.job.get("s3") else 1)])


def listed(files: pyarrow.fs.FileSystem, root: str, suffix: str) -> list[str]:
    found = files.get_file_info(pyarrow.fs.FileSelector(root, recursive=True))
    return sorted(file.path for file in found if file.type == pyarrow.fs.FileType.File and file.path.endswith(suffix))


def typed(table: pyarrow.Table, schema: pyarrow.Schema, zoneless: bool) -> pyarrow.Table:
    """The same columns in the same order; their types must be those of the schema, whatever the width of offsets."""
    table = table.select(schema.names)
    for index, field in enumerate(schema):
        found = table.schema.field(index).type
        wide = {pyarrow.large_string(): pyarrow.string(), pyarrow.string_view(): pyarrow.string()}
        same = wide.get(found, found) == field.type
        if zoneless and pyarrow.types.is_timestamp(field.type):
            # This peer keeps instants without their zone; the instants are compared.
            same = pyarrow.types.is_timestamp(found)
        if not same:
            raise AssertionError(f"column `{field.name}` has type {found}, not {field.type}")
        table = table.set_column(index, field, table.column(index).cast(field.type))
    return table.replace_schema_metadata(None)


def compare(expected: pyarrow.Table, found: pyarrow.Table, where: str) -> None:
    if expected.num_rows != found.num_rows:
        raise AssertionError(f"{where}: {found.num_rows} rows, {expected.num_rows} are right")
    for name in expected.schema.names:
        right, made = expected[name], found[name]
        if not right.equals(made):
            pairs = zip(expected["id"].to_pylist(), right.to_pylist(), made.to_pylist())
            first = next(((key, a, b) for key, a, b in pairs if a != b), None)
            raise AssertionError(f"{where}: column `{name}` differs; (id, right, made) of the first: {first}")


def in_order(file: pyarrow.parquet.ParquetFile, rows: int) -> bool:
    ids = file.read(columns=["id"])["id"]
    return len(ids) == rows and ids.null_count == 0 and ids.combine_chunks().equals(pyarrow.array(numpy.arange(rows)))


def stream(sources: Sources, file: pyarrow.parquet.ParquetFile, zoneless: bool) -> None:
    """Compares file by file with the next rows of the output."""
    batches = file.iter_batches(batch_size=1 << 16)
    held = pyarrow.table({field.name: pyarrow.array([], field.type) for field in sources.schema})
    for number, expected in enumerate(sources.tables()):
        parts, rows = [held], held.num_rows
        while rows < expected.num_rows:
            batch = next(batches, None)
            if batch is None:
                break
            parts.append(typed(pyarrow.table(batch), sources.schema, zoneless))
            rows += batch.num_rows
        whole = pyarrow.concat_tables(parts)
        compare(expected, whole.slice(0, expected.num_rows), sources.paths[number])
        held = whole.slice(expected.num_rows)
    if held.num_rows or next(batches, None) is not None:
        raise AssertionError("the output has rows more than its sources")


def main() -> None:
    job = json.loads(pathlib.Path(sys.argv[1]).read_text())
    if s3 := job.get("s3"):
        files = pyarrow.fs.S3FileSystem(
            endpoint_override=f"http://{s3['host']}", access_key=s3["key"], secret_key=s3["secret"], region=s3["region"]
        )
        paths = listed(files, job["out"].removeprefix("s3://"), ".parquet")
    else:
        files = pyarrow.fs.LocalFileSystem()
        out = pathlib.Path(job["out"])
        paths = sorted(str(path) for path in out.rglob("*.parquet")) if out.is_dir() else [str(out)]
    sources = Sources(job, files)
    zoneless, by = job.get("zoneless", False), job.get("by")
    opened = [pyarrow.parquet.ParquetFile(files.open_input_file(path)) for path in paths]
    for path, file in zip(paths, opened):
        codec = file.metadata.row_group(0).column(0).compression.lower()
        if codec != job["compression"]:
            raise AssertionError(f"`{path}` is compressed by {codec}, not {job['compression']}")
    rows = sum(file.metadata.num_rows for file in opened)
    ordered = len(opened) == 1 and by is None and in_order(opened[0], rows)
    if ordered:
        stream(sources, opened[0], zoneless)
    else:
        schema = sources.schema
        if by and by not in schema.names:
            schema = schema.append(pyarrow.field(by, pyarrow.string()))
        made = []
        for path, file in zip(paths, opened):
            table = file.read()
            if by:
                # The value stands in the path; in the file it may stand, too.
                value = pyarrow.array([partition_of(path, by)] * len(table), "string")
                table = table.drop_columns([by] if by in table.column_names else []).append_column(by, value)
            made.append(typed(table, schema, zoneless))
        expected = pyarrow.concat_tables(sources.tables()).select(schema.names)
        compare(expected.sort_by("id"), pyarrow.concat_tables(made).sort_by("id"), "sorted by `id`")
    size = sum(files.get_file_info(path).size for path in paths)
    print(json.dumps({"rows": rows, "files": len(paths), "bytes": size, "in_order": ordered}))


if __name__ == "__main__":
    main()
