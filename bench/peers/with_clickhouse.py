"""ClickHouse in the process (chdb): `INSERT INTO FUNCTION file` from files of a given structure."""

import job
import chdb

TYPES = {
    "int64": "Nullable(Int64)",
    "float64": "Nullable(Float64)",
    "bool": "Nullable(Bool)",
    "text": "Nullable(String)",
    "timestamp(us, UTC)": "Nullable(DateTime64(6, 'UTC'))",
}

asked = job.asked()
with job.measured(asked["out"]):
    structure = ", ".join(f"{name} {TYPES[kind]}" for name, kind in asked["columns"].items()).replace("'", "\\'")
    chdb.query(
        f"INSERT INTO FUNCTION file('{asked['out']}', 'Parquet') "
        f"SELECT * FROM file('{asked['glob']}', 'JSONEachRow', '{structure}') "
        f"SETTINGS max_threads = {asked['threads']}, output_format_parquet_compression_method = '{asked['compression']}', "
        f"output_format_compression_level = {asked['level']}, output_format_parquet_write_bloom_filter = 0, "
        "date_time_input_format = 'best_effort', "
        "engine_file_truncate_on_insert = 1"
    )
