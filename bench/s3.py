"""Rows on S3: an in-memory server as a process of its own, 15 ms away, the same for all sides."""

import contextlib
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import zlib

import local
import measure
import optimum
import rows

DELAY_MS = 15
BUCKET = "bench"
LEAST_PART = 5 << 20


class Server:
    """The server's process. Its etags are opaque, so that it hashes no part that it copies; that holds for all sides."""

    def __init__(self, program: pathlib.Path):
        self.process = subprocess.Popen(
            [program, "--bucket", BUCKET, "--first-byte-delay-ms", str(DELAY_MS), "--opaque-etags"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.endpoint = self.process.stdout.readline().strip()
        self.pid = self.process.pid

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def environment(server: Server) -> dict:
    """Where to find the server, and nothing of the caller's own settings for AWS."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "testtest",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }


def tool(name: str) -> str:
    """A peer of this virtual environment."""
    return str(pathlib.Path(sys.prefix) / "bin" / name)


def take_away(s5cmd: list, places: list[str], env: dict) -> None:
    """Removes objects by pattern."""
    for place in places:
        # Nothing there is an error for the tool, and none here.
        with contextlib.suppress(RuntimeError):
            measure.run([*s5cmd, "rm", place], env=env)


class World:
    """Objects on the server, a flow over them, and three sides at work."""

    def __init__(self, bench: "rows.Bench", server: Server, row: str, objects, suffix: str, most: int):
        self.bench, self.server, self.row, self.suffix = bench, server, row, suffix
        self.root = measure.empty(bench.memory / row)
        self.env = environment(server)
        self.s5cmd = [tool("s5cmd"), "--endpoint-url", server.endpoint]
        self.aws = [tool("aws"), "--endpoint-url", server.endpoint, "s3", "cp", "--recursive", "--only-show-errors"]
        source = self.root / "in"
        self.sizes: list[tuple[str, int]] = []
        for number, body in enumerate(objects):
            directory = source / f"{number // 1000:04}"
            directory.mkdir(parents=True, exist_ok=True)
            name = f"{number // 1000:04}/{number:07}.{suffix}"
            (source / name).write_bytes(body)
            self.sizes.append((name, len(body)))
        self.batches = local.cut(self.sizes, most)
        self.bytes = sum(size for _, size in self.sizes)
        self.expected = []
        lists = measure.empty(self.root / "lists")
        for index, batch in enumerate(self.batches):
            whole = hashlib.sha256()
            for name in batch:
                whole.update((source / name).read_bytes())
            self.expected.append(whole.hexdigest())
            (lists / f"{index:05}").write_text("".join(f"in/{name}\n" for name in batch))
        measure.run([*self.s5cmd, "--log", "error", "cp", f"{source}/", f"s3://{BUCKET}/{row}/in/"], env=self.env)
        shutil.rmtree(source)
        (self.root / "baler.toml").write_text(
            f"""version = 1
state = "lake:_state"

[stores]
lake = {{ url = "s3://{BUCKET}", endpoint = "{server.endpoint}" }}

[flows.{row}]
do = "combine"
from = "lake:{row}/in/{{part:int}}/{{n:int}}.{suffix}"
to = "lake:{row}/out/{{index:05}}.{suffix}"
batch = {{ max_bytes = "{most}B" }}
"""
        )
        self.compared: set[str] = set()
        self.used: dict[str, list[float]] = {}
        self.last: dict = {}
        self.peak = 0

    def clear(self) -> None:
        """Takes outputs, downloads and the flow's ledger away; the proof of the store stays, as it does for 30 days."""
        places = [f"s3://{BUCKET}/{what}" for what in [f"{self.row}/out/*", f"_state/{self.row}/*"]]
        take_away([*self.s5cmd, "--log", "error"], places, self.env)
        for name in ["in", "out"]:
            measure.remove(self.root / name)

    def timed(self, side: str, work) -> measure.Ran:
        self.clear()
        before = measure.processor_seconds(self.server.pid)
        ran = work()
        server = measure.processor_seconds(self.server.pid) - before
        self.used.setdefault(side, []).append(server / ran.seconds)
        self.compare(side)
        return ran

    def compare(self, side: str) -> None:
        """All sides must make the same outputs, byte for byte; looked at in the first turn of each."""
        if side in self.compared:
            return
        for index, expected in enumerate(self.expected):
            command = [*self.s5cmd, "cat", f"s3://{BUCKET}/{self.row}/out/{index:05}.{self.suffix}"]
            with subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE) as reading:
                found = hashlib.file_digest(reading.stdout, "sha256").hexdigest()
            if reading.returncode != 0 or found != expected:
                raise AssertionError(f"{side} made another output {index}")
        self.compared.add(side)

    def baler(self) -> measure.Ran:
        def work() -> measure.Ran:
            command = [self.bench.baler, "run", "--format", "json", "--quiet"]
            ran = measure.run(command, env=self.env, cwd=self.root)
            self.last = json.loads(ran.stdout.splitlines()[-1])
            if self.last["status"] != "committed":
                raise AssertionError(ran.stdout)
            self.peak = max(self.peak, ran.peak)
            return ran

        return self.timed("baler", work)

    def join(self, down: list, up: list) -> measure.Ran:
        cat = f'mkdir out; for list in lists/*; do xargs cat <"$list" >"out/${{list#lists/}}.{self.suffix}"; done'
        script = f"{' '.join(down)}; {cat}; {' '.join(up)}"
        return measure.shell(script, env=self.env, cwd=self.root)

    def with_s5cmd(self) -> measure.Ran:
        base = f"s3://{BUCKET}/{self.row}"
        quiet = [*self.s5cmd, "--log", "error", "cp"]
        return self.timed("s5cmd", lambda: self.join([*quiet, f"'{base}/in/*'", "in/"], [*quiet, "out/", f"{base}/out/"]))

    def with_aws(self) -> measure.Ran:
        base = f"s3://{BUCKET}/{self.row}"
        return self.timed("aws", lambda: self.join([*self.aws, f"{base}/in/", "in/"], [*self.aws, "out/", f"{base}/out/"]))

    def least(self) -> int:
        """The fewest bytes that can pass through the client, by the independent computation."""
        sizes = dict(self.sizes)
        return sum(optimum.through([sizes[name] for name in batch], LEAST_PART) for batch in self.batches)

    def lines(self, name: str, goal: float) -> list[dict]:
        s5 = measure.in_turns(self.bench.pairs, self.baler, self.with_s5cmd, f"{name}, s5cmd")
        self.bench.note_pairs(name, "s5cmd", s5)
        # Minutes a turn: fewer pairs.
        aws = measure.in_turns(self.bench.slow_pairs, self.baler, self.with_aws, f"{name}, aws", first=False)
        self.bench.note_pairs(name, "aws", aws)
        through, least = self.last["bytes_through_client"], self.least()
        if through < least:
            raise AssertionError(f"{through} bytes came through the client, fewer than the least, {least}")
        requests = {kind: count for kind, count in self.last["requests"].items() if count}
        share = {side: sum(used) / len(used) for side, used in self.used.items()}
        beside = (
            f"{through:,} bytes through the client, the optimum is {least:,}; requests: "
            + ", ".join(f"{count:,} {kind}" for kind, count in requests.items())
            + f"; peak {self.peak / 1e6:.0f} MB; processors that the server used: "
            + ", ".join(f"{used:.2f} under {side}" for side, used in share.items())
        )
        floor = self.floor(least)
        # The goal is held against the peer that Baler beats by less: seconds of turns at different times cannot be compared.
        faster = min((s5, aws), key=lambda pairs: measure.summary(pairs).ratio)
        measure.remove(self.root)
        return [
            rows.against(
                pairs,
                f"{side}, `cat`, {side}",
                goal if pairs is faster else None,
                also=through == least,
                beside=beside if pairs is faster else "",
                floor=floor if pairs is faster else "",
            )
            for side, pairs in [("`s5cmd cp`", s5), ("`aws s3 cp`", aws)]
        ]

    def floor(self, least: int) -> str:
        small = sum(size < LEAST_PART for _, size in self.sizes)
        return (
            f"{least / 1e9:.2f} GB down and up again, in {small:,} GETs at least; at 256 requests at once and "
            f"{DELAY_MS} ms each these wait {small * DELAY_MS / 1000 / 256:.2f} s"
        )


@contextlib.contextmanager
def serving(bench: "rows.Bench"):
    server = Server(bench.server)
    try:
        yield server
    finally:
        server.close()


def small(bench: "rows.Bench", row: "rows.Row") -> list[dict]:
    chance = random.Random(2)
    text = local.lines(1 << 20, chance)

    def objects():
        for _ in range(bench.objects(20_000)):
            begin = chance.randrange(len(text) - 20_000)
            yield text[begin : begin + 19_999] + b"\n"

    with serving(bench) as server:
        world = World(bench, server, "s3-small", objects(), "jsonl", 100_000_000)
        return world.lines("s3-small", row.goal)


def mixed(bench: "rows.Bench", row: "rows.Row") -> list[dict]:
    """Sizes from 50 KB to 20 MB, the small ones more frequent: half are below 225 KB. Gzip, stored, so that objects of a
    wanted size are quickly made."""
    chance = random.Random(3)
    noise = chance.randbytes(24 << 20)

    def objects():
        for _ in range(bench.objects(2_000)):
            size = int(50_000 * 400 ** (chance.random() ** 2))
            begin = chance.randrange(4 << 20)
            packer = zlib.compressobj(level=0, wbits=31)
            yield packer.compress(noise[begin : begin + size]) + packer.flush()

    with serving(bench) as server:
        world = World(bench, server, "s3-mixed", objects(), "jsonl.gz", 256_000_000)
        return world.lines("s3-mixed", row.goal)
