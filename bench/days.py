"""Energy prices by the day, as S3DB keeps them: `year=2024/1704067200.csv.gz` and so on, always the same for a seed.

Prices of nodes of a grid for each hour: times as Unix seconds and as UTC text, identifiers, floats of two digits, flags,
short texts and one free text with commas and quotes. Nulls in numbers and flags only: in CSV an empty text is a text to
some readers and null to others.
"""

import concurrent.futures
import dataclasses
import gzip
import os
import pathlib

import numpy
import pyarrow
import pyarrow.compute

COLUMNS = {
    "id": "int64",
    "release_date": "int64",
    "target_start": "int64",
    "target_end": "int64",
    "released": "timestamp(us, UTC)",
    "node_name": "text",
    "tag": "text",
    "lmp": "float64",
    "mlc": "float64",
    "mcc": "float64",
    "volume": "int64",
    "settled": "bool",
    "note": "text",
}
DAY = 86_400
FIRST = 1_704_067_200  # 2024-01-01, a year of 366 days
NOTES = ["on time", "revised, once", 'operator said "hold"', "late", "estimated; see bulletin", "n/a for hub"]


@dataclasses.dataclass(frozen=True)
class Shape:
    """How many nodes there are, and how often each is priced in an hour."""

    nodes: int
    tags: int


def table(day: int, shape: Shape) -> pyarrow.Table:
    """The records of one day, in the order of their hours."""
    chance = numpy.random.default_rng([20240101, day])
    count = 24 * shape.nodes * shape.tags
    rows = numpy.arange(count)
    start = FIRST + day * DAY + rows // (shape.nodes * shape.tags) * 3600
    released = start + 300 + chance.integers(0, 240, 24)[rows // (shape.nodes * shape.tags)]

    def of(choices: list[str], at) -> pyarrow.Array:
        return pyarrow.array(choices).take(pyarrow.array(at))

    def price(mean: float, spread: float, null: float = 0.0) -> pyarrow.Array:
        values = numpy.round(chance.normal(mean, spread, count), 2) + 0.0
        return pyarrow.array(values, mask=chance.random(count) < null if null else None)

    hours, at = numpy.unique(released, return_inverse=True)
    texts = [text + "Z" for text in numpy.datetime_as_string(hours.astype("datetime64[s]"))]
    names = [f"NODE.{number * 7919 % 99_991:05}.{'AGN' if number % 3 else 'LZ'}" for number in range(shape.nodes)]
    tags = [f"real_time_{word}" for word in ["dart", "prelim", "final", "expost", "audit", "spot"]]
    columns = [
        day * count + rows,
        released,
        start,
        start + 3600,
        of(texts, at),
        of(names, rows // shape.tags % shape.nodes),
        of(tags, rows % shape.tags),
        price(31.4, 12.0),
        price(0.0, 0.8),
        price(-0.2, 1.5, null=0.02),
        pyarrow.array(chance.integers(0, 5_000, count), mask=chance.random(count) < 0.05),
        pyarrow.array(chance.random(count) < 0.9, mask=chance.random(count) < 0.01),
        of(NOTES, numpy.minimum(chance.geometric(0.6, count) - 1, len(NOTES) - 1)),
    ]
    return pyarrow.table(columns, names=list(COLUMNS))


def text(day: int, shape: Shape) -> bytes:
    """The day as CSV; only the notes that need quotes have them."""
    made = table(day, shape)
    fields = [column.cast("string") for column in made.columns[:-1]]
    quoted = ['"' + note.replace('"', '""') + '"' if set(note) & set('",') else note for note in NOTES]
    fields.append(pyarrow.array(quoted).take(pyarrow.compute.index_in(made["note"], pyarrow.array(NOTES))))
    lines = pyarrow.compute.binary_join_element_wise(*fields, ",", null_handling="replace", null_replacement="")
    return "\n".join([",".join(COLUMNS), *lines.to_pylist(), ""]).encode()


def _write(place: tuple[pathlib.Path, int, Shape]) -> tuple[pathlib.Path, int]:
    root, day, shape = place
    path = root / "year=2024" / f"{FIRST + day * DAY}.csv.gz"
    raw = text(day, shape)
    path.write_bytes(gzip.compress(raw, 6, mtime=0))
    return path, len(raw)


def write(root: pathlib.Path, days: int, shape: Shape) -> tuple[list[pathlib.Path], int]:
    """Writes day files below `root`; returns them in order, and how many bytes of text they hold."""
    (root / "year=2024").mkdir(parents=True)
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        made = list(pool.map(_write, [(root, day, shape) for day in range(days)]))
    return [path for path, _ in made], sum(size for _, size in made)
