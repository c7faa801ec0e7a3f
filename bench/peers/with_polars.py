"""Polars: a lazy scan with a schema, streamed into a Parquet file."""

import job
import polars

TYPES = {
    "int64": polars.Int64,
    "float64": polars.Float64,
    "bool": polars.Boolean,
    "text": polars.String,
    "timestamp(us, UTC)": polars.String,
}

asked = job.asked()
with job.measured(asked["out"]):
    schema = {name: TYPES[kind] for name, kind in asked["columns"].items()}
    scan = polars.scan_csv if asked["format"] == "csv" else polars.scan_ndjson
    times = [
        polars.col(name).str.to_datetime(asked["times"], time_unit="us", time_zone="UTC", strict=True)
        for name, kind in asked["columns"].items()
        if kind.startswith("timestamp")
    ]
    frame = scan(asked["inputs"], schema=schema).with_columns(times)
    frame.sink_parquet(asked["out"], compression=asked["compression"], compression_level=asked.get("level"))
