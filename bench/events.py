"""Events of a shop as JSON lines of twelve fields, always the same for a seed."""

import datetime
import gzip
import pathlib

import numpy

COLUMNS = {
    "id": "int64",
    "at": "timestamp(us, UTC)",
    "user": "int64",
    "kind": "text",
    "country": "text",
    "device": "text",
    "amount": "float64",
    "quantity": "int64",
    "rate": "float64",
    "vip": "bool",
    "session": "text",
    "message": "text",
}
KINDS = ["view", "search", "basket", "order", "payment", "refund", "login", "logout"]
COUNTRIES = ["GB", "DE", "FR", "US", "IN", "BR", "JP", "ZA", "PL", "SE"]
DEVICES = ["phone", "tablet", "desktop", "kiosk"]
MESSAGES = [
    "ok",
    "retried once after a timeout of the gateway",
    "caf\u00e9 cr\u00e8me",
    'said "yes", twice',
    "line one\nline two",
    "path C:\\temp\\in",
    "\u7d0d\u54c1\u6e08\u307f",
]
FIRST = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
DAY = 86_400


def lines(number: int, count: int, day: int = 0, part: int = 0, parts: int = 1) -> bytes:
    """File `number` of all, with `count` records of a `day`; `part` of `parts` of it."""
    chance = numpy.random.default_rng([12, number])
    seconds = (day * DAY + (part + numpy.arange(count) / count) * (DAY / parts)).astype("int64")
    stamps = numpy.datetime64(FIRST.replace(tzinfo=None), "us") + seconds.astype("timedelta64[s]")
    stamps = stamps + chance.integers(0, 1_000_000, count).astype("timedelta64[us]")
    escaped = [_escape(message) for message in MESSAGES]
    columns = [
        (number * count + numpy.arange(count)).tolist(),
        numpy.datetime_as_string(stamps, unit="us").tolist(),
        chance.integers(1, 2_000_000, count).tolist(),
        [KINDS[i] for i in chance.integers(0, len(KINDS), count)],
        [COUNTRIES[i] for i in chance.integers(0, len(COUNTRIES), count)],
        [DEVICES[i] for i in chance.integers(0, len(DEVICES), count)],
        _nulls(numpy.round(chance.gamma(2.0, 40.0, count), 2).tolist(), chance.random(count) < 0.1),
        _nulls(chance.integers(1, 50, count).tolist(), chance.random(count) < 0.05),
        numpy.round(chance.random(count), 6).tolist(),
        ["true" if vip else "false" for vip in chance.random(count) < 0.2],
        [f"{value:016x}" for value in chance.integers(0, 1 << 62, count).tolist()],
        [escaped[i] for i in numpy.minimum(chance.geometric(0.5, count) - 1, len(escaped) - 1)],
    ]
    line = (
        '{"id":%d,"at":"%sZ","user":%d,"kind":"%s","country":"%s","device":"%s","amount":%s,"quantity":%s,"rate":%r,'
        '"vip":%s,"session":"%s","message":%s}\n'
    )
    return "".join([line % record for record in zip(*columns)]).encode()


def _escape(message: str) -> str:
    # JSON by hand for these few: what is not ASCII stays as it is, as most writers leave it.
    escaped = message.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _nulls(values: list, null) -> list:
    return ["null" if missing else repr(value) for value, missing in zip(values, null)]


def write(root: pathlib.Path, files: int, each: int, packed: bool) -> tuple[list[pathlib.Path], int]:
    """Writes `files` files of `each` records below `root`; returns them in order, and how many bytes of text they hold."""
    suffix = ".jsonl.gz" if packed else ".jsonl"
    root.mkdir(parents=True)
    made, size = [], 0
    for number in range(files):
        raw = lines(number, each, part=number, parts=files)
        path = root / f"{number:05}{suffix}"
        path.write_bytes(gzip.compress(raw, 6, mtime=0) if packed else raw)
        made.append(path)
        size += len(raw)
    return made, size
