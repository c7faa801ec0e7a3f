"""DuckDB: `COPY` of a scan with given columns, to a Parquet file or to hive partitions; from and to S3 where asked."""

import importlib.util
import pathlib

import duckdb
import job

TYPES = {
    "int64": "BIGINT",
    "float64": "DOUBLE",
    "bool": "BOOLEAN",
    "text": "VARCHAR",
    "timestamp(us, UTC)": "TIMESTAMPTZ",
}


def load_s3(database, s3: dict) -> None:
    """The extension comes with a package of its own, of the same version: nothing is fetched when it is loaded."""
    home = pathlib.Path(importlib.util.find_spec("duckdb_extension_httpfs").origin).parent
    extension = next(home.rglob("httpfs.duckdb_extension"))
    database.execute(f"LOAD {text(str(extension))}")
    database.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID {text(s3['key'])}, SECRET {text(s3['secret'])}, REGION {text(s3['region'])}, "
        f"ENDPOINT {text(s3['host'])}, USE_SSL false, URL_STYLE path)"
    )


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


asked = job.asked()
with job.measured(None if asked.get("s3") else asked["out"]):
    database = duckdb.connect()
    database.execute(f"SET threads = {asked['threads']}; SET TimeZone = 'UTC'")
    database.execute(f"SET preserve_insertion_order = {str(asked['in_order']).lower()}")
    if temporary := asked.get("temporary"):
        database.execute(f"SET temp_directory = {text(temporary)}")
    if s3 := asked.get("s3"):
        load_s3(database, s3)
    columns = ", ".join(f"{text(name)}: {text(TYPES[kind])}" for name, kind in asked["columns"].items())
    inputs = ", ".join(text(path) for path in asked["inputs"])
    if asked["format"] == "csv":
        dialect = "header = true, auto_detect = false, delim = ',', quote = '\"', escape = '\"'"
        scan = f"read_csv([{inputs}], {dialect}, columns = {{{columns}}}, hive_partitioning = false)"
    else:
        hive = str("by" in asked).lower()
        scan = f"read_ndjson([{inputs}], columns = {{{columns}}}, hive_partitioning = {hive})"
    options = ["FORMAT parquet", f"COMPRESSION {asked['compression']}"]
    if level := asked.get("level"):
        options.append(f"COMPRESSION_LEVEL {level}")
    if by := asked.get("by"):
        options.append(f"PARTITION_BY ({by})")
    database.execute(f"COPY (SELECT * FROM {scan}) TO {text(asked['out'])} ({', '.join(options)})")
