"""The rows of `bench/combine`."""

import local
import rows
import s3

SUITE = rows.Suite(
    "combine",
    {
        "tmpfs": rows.Row("100,000 files of 10 KB into 100 MB outputs, in memory", 1.5, "1.5 times as fast", local.tmpfs),
        "disk": rows.Row("the same on a disk, durable", 0.9, "0.9 of the speed of writing and syncing", local.disk),
        "large": rows.Row(
            "200 files of 50 MB on a disk into 1 GB outputs", 0.9, "0.9 times as fast, under 200 MB of memory", local.large
        ),
        "s3-small": rows.Row("20,000 objects of 20 KB on S3, 15 ms away", 3.0, "3 times as fast", s3.small),
        "s3-mixed": rows.Row(
            "2,000 objects of 50 KB to 20 MB on S3, 15 ms away", 3.0, "3 times as fast, fewest bytes", s3.mixed
        ),
        "plan": rows.Row(
            "planning a million objects", 3.0, "under 3 s behind the listing, 600 bytes an object", local.plan, is_ratio=False
        ),
        "start": rows.Row("`baler --version`", 20.0, "under 20 ms", local.start, is_ratio=False),
    },
)
