"""AWS SDK for pandas: objects of a dataset into a frame, and the frame into a dataset by partitions."""

import awswrangler
import job
import pandas

asked = job.asked()
with job.measured(None):
    awswrangler.config.s3_endpoint_url = f"http://{asked['s3']['host']}"
    frame = awswrangler.s3.read_json(
        path=asked["inputs"],
        lines=True,
        dataset=True,
        use_threads=asked["threads"],
        dtype_backend="pyarrow",
        convert_dates=False,
        precise_float=True,
    )
    for name, kind in asked["columns"].items():
        if kind.startswith("timestamp"):
            frame[name] = pandas.to_datetime(frame[name], format="ISO8601", utc=True)
    awswrangler.s3.to_parquet(
        frame,
        path=asked["out"],
        dataset=True,
        partition_cols=[asked["by"]],
        compression=asked["compression"],
        use_threads=asked["threads"],
    )
