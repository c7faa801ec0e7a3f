"""Rows on directories: many small files, few large ones, planning, start-up."""

import json
import os
import pathlib
import random
import shutil
import statistics

import measure
import rows

# Lines of JSON, as files of logs have them; every file is cut from here at another place.
_LINE = '{"id":%08d,"at":"2026-11-%02dT%02d:%02d:%02dZ","level":"info","text":"%032x"}\n'


def lines(size: int, chance: random.Random) -> bytes:
    """About `size` bytes of JSON lines, ended by a newline."""
    text = bytearray()
    while len(text) < size:
        at = chance.randrange(10**8)
        text += (_LINE % (at, at % 28 + 1, at % 24, at % 60, at % 59, chance.getrandbits(128))).encode()
    return bytes(text[: size - 1]) + b"\n"


def write_files(root: pathlib.Path, count: int, size: int, each: int) -> list[pathlib.Path]:
    """`count` files of `size` bytes, `each` of them to a directory; in key order."""
    chance = random.Random(1)
    text = lines(size + (1 << 20), chance)
    files = []
    for number in range(count):
        directory = root / "in" / f"{number // each:04}"
        if number % each == 0:
            directory.mkdir(parents=True)
        begin = chance.randrange(1 << 20)
        path = directory / f"{number:07}.jsonl"
        with open(path, "wb") as file:
            file.write(text[begin : begin + size - 1])
            file.write(b"\n")
        files.append(path)
    return files


def configure(root: pathlib.Path, most: int) -> pathlib.Path:
    """A flow over `in/` into outputs of `most` bytes."""
    (root / "baler.toml").write_text(
        f"""version = 1

[flows.bench]
do = "combine"
from = "./in/{{part:int}}/{{n:int}}.jsonl"
to = "./out/{{index:05}}.jsonl"
batch = {{ max_bytes = {most} }}
""".replace(str(most), f'"{most}B"')
    )
    return root / "baler.toml"


def cut(files: list[tuple[str, int]], most: int) -> list[list[str]]:
    """What goes into each output: one is closed before the file that would exceed `most`."""
    batches, held = [], most + 1
    for name, size in files:
        if held + size > most:
            batches.append([])
            held = 0
        batches[-1].append(name)
        held += size
    return batches


class Directory:
    """One directory with files, and both sides at work in it."""

    def __init__(self, bench: "rows.Bench", root: pathlib.Path, count: int, size: int, each: int, most: int):
        self.bench, self.root = bench, root
        self.files = write_files(root, count, size, each)
        configure(root, most)
        # Relative, as people name them; files of one directory in key order are in the order of the glob.
        names = [(str(path.relative_to(root)), size) for path in self.files]
        self.batches = cut(names, most)
        (root / "lists").mkdir()
        for index, batch in enumerate(self.batches):
            (root / "lists" / f"{index:05}").write_text("".join(f"{name}\n" for name in batch))
        self.peak = 0
        self.bytes = count * size
        self.expected = None
        self.cold = False

    def clear(self) -> None:
        # The proof of the directory stays, as it does for 30 days.
        for name in ["out", ".baler/bench", ".baler-tmp"]:
            measure.remove(self.root / name)
        measure.settle(self.root)
        if self.cold:
            measure.forget(self.files)

    def command(self) -> list:
        return [self.bench.baler, "run", "--quiet"]

    def baler(self) -> measure.Ran:
        self.clear()
        ran = measure.run(self.command(), cwd=self.root)
        self.peak = max(self.peak, ran.peak)
        self.compare("baler")
        return ran

    def peer(self, script: str) -> measure.Ran:
        self.clear()
        (self.root / "out").mkdir()
        ran = measure.shell(script, cwd=self.root)
        self.compare("the peer")
        return ran

    def outputs(self) -> list[pathlib.Path]:
        return sorted((self.root / "out").rglob("*.jsonl"))

    def compare(self, side: str) -> None:
        """Both sides must make the same outputs, byte for byte: hashed the first time, later told by names and sizes."""
        shape = [(path.name, path.stat().st_size) for path in self.outputs()]
        if self.expected is None:
            self.expected = {"shape": shape, "hash": None}
        if shape != self.expected["shape"] or sum(size for _, size in shape) != self.bytes:
            raise AssertionError(f"{side} made other outputs: {shape[:3]} …")
        if self.expected.get(side) is None:
            found = measure.hash_of(self.outputs())
            if self.expected["hash"] not in (None, found):
                raise AssertionError(f"{side} made outputs of other bytes")
            self.expected["hash"] = self.expected[side] = found

    def calls(self) -> str:
        """System calls of a run, in words."""
        if not self.bench.syscalls:
            return ""
        self.clear()
        found = measure.syscalls(self.command(), cwd=self.root)
        if found is None:
            return ""
        most = sorted(found.items(), key=lambda item: -item[1])[:5]
        return f"{sum(found.values()):,} system calls ({', '.join(f'{n:,} {name}' for name, n in most)})"


XARGS = 'for list in lists/*; do xargs cat <"$list" >"out/${list#lists/}.jsonl"; done'


def tmpfs(bench: "rows.Bench", row: "rows.Row") -> list[dict]:
    count = bench.objects(100_000)
    work = Directory(bench, bench.memory / "small", count, 10_000, 1000, 100_000_000)
    pairs = measure.in_turns(bench.pairs, work.baler, lambda: work.peer(XARGS), "tmpfs")
    bench.note_pairs("tmpfs", "xargs cat", pairs)
    found = 'find in -type f | LC_ALL=C sort | split -l 10000 -d -a 5 - found-; '
    listed = found + 'for list in found-*; do xargs cat <"$list" >"out/${list#found-}.jsonl"; done; rm found-*'
    fair = measure.in_turns(bench.pairs, work.baler, lambda: work.peer(listed), "tmpfs, listing")
    bench.note_pairs("tmpfs", "find, sort, xargs cat", fair)
    beside = "; ".join(filter(None, [work.calls(), f"peak {work.peak / 1e6:.0f} MB"]))
    floor = (
        f"a file must be opened, read, looked at and closed: {4 * count:,} calls; "
        f"its bytes are copied twice: {2 * work.bytes / 1e9:.1f} GB through memory"
    )
    measure.remove(work.root)
    return [
        rows.against(pairs, "`xargs cat`, names known", row.goal, beside=beside, floor=floor),
        rows.against(fair, "`find`, `sort`, `xargs cat`", None, beside="both list", floor=""),
    ]


def disk(bench: "rows.Bench", row: "rows.Row") -> list[dict]:
    count = bench.objects(100_000)
    work = Directory(bench, bench.disk / "small", count, 10_000, 1000, 100_000_000)
    # The same bytes as outputs, in memory: the peer only writes and syncs.
    work.peer(XARGS)
    ready = bench.memory / "ready"
    shutil.copytree(work.root / "out", ready)
    script = f'for file in {ready}/*; do cat "$file" >"out/${{file##*/}}"; done; sync out/* out'
    pairs = measure.in_turns(bench.pairs, work.baler, lambda: work.peer(script), "disk")
    bench.note_pairs("disk", "write and sync", pairs)
    whole = XARGS + "; sync out/* out"
    also = measure.in_turns(bench.pairs, work.baler, lambda: work.peer(whole), "disk, xargs cat")
    bench.note_pairs("disk", "xargs cat, sync", also)
    beside = "; ".join(filter(None, [work.calls(), f"peak {work.peak / 1e6:.0f} MB"]))
    floor = f"{work.bytes / 1e9:.1f} GB written and synced: the peer does nothing else"
    measure.remove(work.root), measure.remove(ready)
    return [
        rows.against(pairs, "`cat` of ready outputs, `sync`", row.goal, beside=beside, floor=floor),
        rows.against(also, "`xargs cat`, `sync`", None, beside="", floor=""),
    ]


def large(bench: "rows.Bench", row: "rows.Row") -> list[dict]:
    count = bench.objects(200)
    work = Directory(bench, bench.disk / "large", count, 50_000_000, 20, 1_000_000_000)
    # 10 GB in and 10 GB out exceed many machines' page cache: both sides read from the disk.
    work.cold = True
    script = XARGS + "; sync out/* out"
    pairs = measure.in_turns(bench.pairs, work.baler, lambda: work.peer(script), "large")
    bench.note_pairs("large", "cat, sync", pairs)
    beside = f"peak {work.peak / 1e6:.0f} MB"
    floor = f"{work.bytes / 1e9:.0f} GB read from and as many written to one disk"
    measure.remove(work.root)
    small = work.peak < 200e6
    return [rows.against(pairs, "`cat`, `sync`", row.goal, also=small, beside=beside, floor=floor)]


def plan(bench: "rows.Bench", row: "rows.Row") -> list[dict]:
    count = bench.objects(1_000_000)
    root = measure.empty(bench.memory / "million")
    for number in range(count):
        directory = root / "in" / f"{number // 10_000:04}"
        if number % 10_000 == 0:
            directory.mkdir(parents=True)
        # A size, and no page of memory.
        file = os.open(directory / f"{number:08}.jsonl", os.O_CREAT | os.O_WRONLY, 0o644)
        os.ftruncate(file, 10_000)
        os.close(file)
    configure(root, 100_000_000)
    command = [bench.baler, "plan", "--format", "json"]
    behind, whole, peaks = [], [], []
    for turn in range(max(3, bench.pairs)):
        ran = measure.run(command, cwd=root)
        planned = json.loads(ran.stdout)[0]["plans"][0]
        if planned["objects"] != count:
            raise AssertionError(f"{planned['objects']} objects planned, {count} are there")
        behind.append(ran.seconds - planned["seconds_listing"])
        whole.append(ran.seconds)
        peaks.append(ran.peak)
        print(f"  plan {turn + 1}: {ran.seconds:.2f} s, {behind[-1]:.2f} s of it behind the listing", flush=True)
    measure.remove(root)
    each = max(peaks) / count
    beside = f"{statistics.median(whole):.2f} s with the listing; {each:.0f} bytes an object at the peak"
    floor = f"{count:,} keys of 20 bytes: matched, ordered, cut"
    return [rows.alone(statistics.median(behind), "s", row.goal, also=each <= 600, beside=beside, floor=floor)]


def start(bench: "rows.Bench", row: "rows.Row") -> list[dict]:
    def median(command: list) -> float:
        return statistics.median(measure.run(command).seconds for _ in range(51)) * 1000

    ours, least = median([bench.baler, "--version"]), median(["/bin/true"])
    return [rows.alone(ours, "ms", row.goal, beside="", floor=f"/bin/true: {least:.1f} ms")]
