"""The rows of `bench/convert`."""

import pathlib

import conversion
import days
import entry
import events
import measure
import rows
import s3

# Of versions that the extension for S3 and the AWS SDK for pandas go with; apart from the others.
S3_PEERS = ["duckdb==1.5.5", "duckdb-extension-httpfs==1.5.5", "awswrangler==3.17.1"]
PRICES = days.Shape(nodes=5000, tags=1)
# As many records a day, of a thousand nodes.
NODES = days.Shape(nodes=1000, tags=5)
RECORDS_OF_A_FILE = 1560
RECORDS_OF_AN_OBJECT = 90

POLARS = conversion.Peer("Polars", "with_polars")
DUCKDB = conversion.Peer("DuckDB", "with_duckdb")
PYARROW = conversion.Peer("pyarrow, joined in memory", "with_pyarrow")
PYARROW_STREAM = conversion.Peer("pyarrow, file by file", "with_pyarrow", {"file_by_file": True})
CLICKHOUSE = conversion.Peer("ClickHouse", "with_clickhouse")


def share(bench: rows.Bench, count: int) -> int:
    """Two at least: what is joined must be more than one."""
    return max(2, int(count * bench.scale))


def columns(schema: dict[str, str]) -> str:
    """The key `schema` of a flow."""
    return "schema = { columns = { " + ", ".join(f'{name} = "{kind}"' for name, kind in schema.items()) + " } }\n"


def priced(bench: rows.Bench, row: str, count: int, shape: days.Shape, out: str, to: str, more: dict) -> conversion.Work:
    """Work on csv.gz day files, on the disk of `--scratch`, warm in the page cache."""
    root = measure.empty(bench.disk / row)
    files, text = days.write(root / "in", share(bench, count), shape)
    job = {
        "format": "csv",
        "inputs": [str(path) for path in files],
        "columns": days.COLUMNS,
        "times": "%Y-%m-%dT%H:%M:%SZ",
        "out": str(root / out),
        "compression": "snappy",
        "temporary": str(root / "spill"),
    } | more
    flow = f'[flows.{row}]\ndo = "convert"\nfrom = "./in/year={{year:int}}/{{start:epoch}}.csv.gz"\n{to}{columns(days.COLUMNS)}'
    return conversion.Work(bench, row, root, job, text, flow)


def csv_days(bench: rows.Bench, row: rows.Row) -> list[dict]:
    to = 'to = "./out/{partition:%Y-%m}.parquet"\npartition = "month"\n'
    work = priced(bench, "csv-days", 31, PRICES, "out/2024-01.parquet", to, {})
    return finished(work, work.lines([POLARS, PYARROW, DUCKDB], row))


def year(bench: rows.Bench, row: rows.Row) -> list[dict]:
    to = 'to = "./out/{partition:%Y}.parquet"\npartition = "year"\n'
    work = priced(bench, "year", 366, PRICES, "out/2024.parquet", to, {})
    return finished(work, work.lines([POLARS, PYARROW_STREAM, DUCKDB], row, most=400e6))


def by_column(bench: rows.Bench, row: rows.Row) -> list[dict]:
    to = 'to = "./out/node_name={node_name}/part.parquet"\npartition = "node_name"\n'
    work = priced(bench, "columns", 31, NODES, "out", to, {"by": "node_name", "in_order": False})
    return finished(work, work.lines([DUCKDB], row, most=400e6))


def finished(work: conversion.Work, lines: list[dict]) -> list[dict]:
    measure.remove(work.root)
    return lines


def shop(bench: rows.Bench, row: rows.Row, name: str, packed: bool) -> list[dict]:
    root = measure.empty(bench.disk / name)
    files, text = events.write(root / "in", bench.objects(1000), RECORDS_OF_A_FILE, packed)
    suffix = "jsonl.gz" if packed else "jsonl"
    job = {
        "format": "jsonl",
        "inputs": [str(path) for path in files],
        "glob": str(root / "in" / f"*.{suffix}"),
        "columns": events.COLUMNS,
        "times": "%Y-%m-%dT%H:%M:%S%.fZ",
        "out": str(root / "out/all.parquet"),
        "compression": "zstd",
        "level": 3,
    }
    to = 'to = "./out/all.parquet"\ncompression = { codec = "zstd", level = 3 }\n'
    flow = f'[flows.{name}]\ndo = "convert"\nfrom = "./in/{{n:int}}.{suffix}"\n{to}{columns(events.COLUMNS)}'
    work = conversion.Work(bench, name, root, job, text, flow)
    return finished(work, work.lines([POLARS, DUCKDB, CLICKHOUSE], row))


def jsonl(bench: rows.Bench, row: rows.Row) -> list[dict]:
    return shop(bench, row, "jsonl", packed=False)


def jsonl_gz(bench: rows.Bench, row: rows.Row) -> list[dict]:
    return shop(bench, row, "jsonl-gz", packed=True)


class OnS3(conversion.Work):
    """The same with sources, outputs and ledger on the server."""

    def __init__(self, bench: rows.Bench, row: str, server: s3.Server):
        root = measure.empty(bench.memory / row)
        place = f"s3://{s3.BUCKET}"
        keys = {"key": "test", "secret": "testtest", "region": "us-east-1", "host": server.endpoint.split("//")[1]}
        job = {
            "format": "jsonl",
            "sources": f"{s3.BUCKET}/in",
            "columns": events.COLUMNS,
            "out": f"{place}/out",
            "compression": "snappy",
            "by": "day",
            "from_key": True,
            "in_order": False,
            "s3": keys,
        }
        flow = f"""[stores]
lake = {{ url = "{place}", endpoint = "{server.endpoint}" }}

[flows.{row}]
do = "convert"
from = "lake:in/day={{day:%Y-%m-%d}}/{{n:int}}.jsonl"
to = "lake:out/day={{partition:%Y-%m-%d}}/part.parquet"
partition = "day"
{columns(events.COLUMNS)}"""
        objects = bench.objects(10_000)
        text = self.write(root / "in", objects)
        super().__init__(bench, row, root, job, text, f'state = "lake:_state"\n\n{flow}')
        self.env = s3.environment(server)
        self.s5cmd = [s3.tool("s5cmd"), "--endpoint-url", server.endpoint, "--log", "error"]
        self.server, self.objects, self.place = server, objects, place
        self.used: dict[str, list[float]] = {}
        self.before = 0.0
        measure.run([*self.s5cmd, "cp", f"{root}/in/", f"{place}/in/"], env=self.env)
        measure.remove(root / "in")

    def write(self, root: pathlib.Path, objects: int) -> int:
        """Thirty days of small objects, as they are to lie on the server."""
        text, each = 0, -(-objects // 30)
        for number in range(objects):
            day, part = number // each, number % each
            body = events.lines(number, RECORDS_OF_AN_OBJECT, day, part, each)
            directory = root / f"day=2026-01-{day + 1:02}"
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"{number:06}.jsonl").write_bytes(body)
            text += len(body)
        return text

    def clear(self) -> None:
        s3.take_away(self.s5cmd, [f"{self.place}/out/*", f"{self.place}/_state/{self.row}/*"], self.env)

    def started(self) -> None:
        self.before = measure.processor_seconds(self.server.pid)

    def note(self, side: str, ran: measure.Ran, job: dict) -> None:
        self.used.setdefault(side, []).append((measure.processor_seconds(self.server.pid) - self.before) / ran.seconds)
        super().note(side, ran, job)

    def beside(self, side: str) -> str:
        used = self.used[side]
        return f"{super().beside(side)}, the server used {sum(used) / len(used):.2f} processors"

    def floor(self) -> str:
        wait = self.objects * s3.DELAY_MS / 1000 / 256
        return f"{self.objects:,} GETs; at 256 at once and {s3.DELAY_MS} ms each these wait {wait:.2f} s"


def s3_small(bench: rows.Bench, row: rows.Row) -> list[dict]:
    python = str(entry.environment(S3_PEERS))
    # Its documentation asks for two to five times as many threads as processors where files are remote.
    duckdb = {"threads": 10, "inputs": [f"s3://{s3.BUCKET}/in/*/*.jsonl"]}
    wrangler = {"threads": 16, "inputs": f"s3://{s3.BUCKET}/in/", "zoneless": True}
    peers = [
        conversion.Peer("DuckDB, httpfs", "with_duckdb", duckdb, python),
        conversion.Peer("AWS SDK for pandas", "with_wrangler", wrangler, python, slow=True),
    ]
    with s3.serving(bench) as server:
        work = OnS3(bench, "s3-small", server)
        return finished(work, work.lines(peers, row))


FASTER = "1.3 times as fast as the fastest"
SUITE = rows.Suite(
    "convert",
    {
        "csv-days": rows.Row("31 csv.gz day files (480 MB of text) to a month of Parquet", 1.3, FASTER, csv_days),
        "jsonl": rows.Row("1,000 JSON lines files (350 MB) to one Parquet file, zstd", 1.3, FASTER, jsonl),
        "jsonl-gz": rows.Row("the same, gzip inputs", 1.3, FASTER, jsonl_gz),
        "year": rows.Row(
            "366 csv.gz day files (5.6 GB of text) to a year of Parquet", 1.0, "faster, under 400 MB of memory", year
        ),
        "s3-small": rows.Row(
            "10,000 objects of 20 KB on S3, 15 ms away, to hive partitions by day", 3.0, "3 times as fast as the fastest", s3_small
        ),
        "columns": rows.Row(
            "31 csv.gz day files to a partition for each of 1,000 nodes", 1.0, "no slower, under 400 MB of memory", by_column
        ),
    },
)
