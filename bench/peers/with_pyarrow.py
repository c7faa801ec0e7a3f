"""pyarrow: CSV file by file, either all joined in memory before one table is written, or each written as it was read."""

import job
import pyarrow
import pyarrow.csv
import pyarrow.parquet

TYPES = {
    "int64": pyarrow.int64(),
    "float64": pyarrow.float64(),
    "bool": pyarrow.bool_(),
    "text": pyarrow.string(),
    "timestamp(us, UTC)": pyarrow.timestamp("us", "UTC"),
}

asked = job.asked()
with job.measured(asked["out"]):
    pyarrow.set_cpu_count(asked["threads"])
    types = {name: TYPES[kind] for name, kind in asked["columns"].items()}
    options = pyarrow.csv.ConvertOptions(column_types=types)
    tables = (pyarrow.csv.read_csv(path, convert_options=options) for path in asked["inputs"])
    if asked["file_by_file"]:
        with pyarrow.parquet.ParquetWriter(asked["out"], pyarrow.schema(types), compression=asked["compression"]) as writer:
            for table in tables:
                writer.write_table(table)
    else:
        pyarrow.parquet.write_table(pyarrow.concat_tables(tables), asked["out"], compression=asked["compression"])
