"""One piece of work of `convert`: its sources, Baler and the peers at work on them, what they made compared."""

import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys

import measure
import rows

HERE = pathlib.Path(__file__).resolve().parent
# Megabytes of text that the stages are measured on apart from each other.
SHARE = 100


@dataclasses.dataclass
class Peer:
    """A side that Baler is measured against: a script below `peers/`, and what its job says beside the work's."""

    name: str
    script: str
    job: dict = dataclasses.field(default_factory=dict)
    python: str = sys.executable
    slow: bool = False


class Work:
    """Sources below `root`, a flow over them, and all sides at work. `job` is what peers and checks are told of it."""

    def __init__(self, bench: "rows.Bench", row: str, root: pathlib.Path, job: dict, text: int, flow: str):
        self.bench, self.row, self.root, self.text = bench, row, root, text
        self.job = {"threads": os.cpu_count(), "in_order": True, "file_by_file": False} | job
        self.env: dict | None = None
        self.peaks: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        (root / "baler.toml").write_text(f"version = 1\n\n{flow}")

    def clear(self) -> None:
        """Takes outputs and the flow's ledger away; the proof of the directory stays, as it does for 30 days."""
        for name in ["out", f".baler/{self.row}", ".baler-tmp", "spill"]:
            measure.remove(self.root / name)
        (self.root / "out").mkdir()
        measure.settle(self.root)

    def baler(self) -> measure.Ran:
        self.clear()
        self.started()
        ran = measure.run([self.bench.baler, "run", "--format", "json", "--quiet"], env=self.env, cwd=self.root)
        said = json.loads(ran.stdout.splitlines()[-1])
        if said["status"] != "committed":
            raise AssertionError(ran.stdout)
        self.note("baler", ran, self.job)
        return ran

    def peer(self, peer: Peer) -> measure.Ran:
        self.clear()
        job = self.job | peer.job
        path = self.root / "job.json"
        path.write_text(json.dumps(job))
        self.started()
        ran = measure.run([peer.python, HERE / "peers" / f"{peer.script}.py", path], env=self.env, cwd=self.root)
        # Starting the interpreter and its imports is not counted; memory is that of the whole process.
        told = json.loads(ran.stdout.splitlines()[-1])
        ran = dataclasses.replace(ran, seconds=told["seconds"], cpu=told["cpu"])
        self.note(peer.name, ran, job)
        return ran

    def started(self) -> None:
        """Called right before a side starts."""

    def note(self, side: str, ran: measure.Ran, job: dict) -> None:
        """Keeps the peak, and holds what a side made against its sources, row for row, in the first turn of it."""
        self.peaks[side] = max(self.peaks.get(side, 0), ran.peak)
        if side in self.sizes:
            return
        path = self.root / "check.json"
        path.write_text(json.dumps(job))
        checked = subprocess.run([sys.executable, HERE / "check.py", path], capture_output=True, text=True, env=self.env)
        if checked.returncode != 0:
            raise AssertionError(f"{side} made another output: {checked.stderr[-2000:]}")
        found = json.loads(checked.stdout)
        self.sizes[side] = found["bytes"]
        order = "in order" if found["in_order"] else "sorted"
        print(f"  {side}: {found['rows']:,} rows in {found['files']:,} files equal to the sources ({order})", flush=True)

    def beside(self, side: str) -> str:
        return f"{self.peaks[side] / 1e6:,.0f} MB of memory, {self.sizes[side] / 1e6:,.1f} MB out"

    def lines(self, peers: list[Peer], row: "rows.Row", most: float | None = None) -> list[dict]:
        """Measures Baler against each peer. `most` is the greatest peak of memory that meets the goal."""
        if self.bench.peers_only:
            return self.peers_alone(peers)
        all_pairs = []
        for peer in peers:
            count = self.bench.slow_pairs if peer.slow else self.bench.pairs
            name = f"{self.row}, {peer.name}"
            pairs = measure.in_turns(count, self.baler, lambda: self.peer(peer), name, first=not peer.slow)
            self.bench.note_pairs(self.row, peer.name, pairs)
            all_pairs.append((peer, pairs))
        nearest = min(all_pairs, key=lambda both: measure.summary(both[1]).ratio)[0]
        small = most is None or self.peaks["baler"] < most
        floor = self.floor()
        made = []
        for peer, pairs in all_pairs:
            judged = peer is nearest
            speed = self.text / 1e6 / measure.summary(pairs).baler
            beside = f"Baler {self.beside('baler')}, {speed:,.0f} MB/s of text; peer {self.beside(peer.name)}"
            goal = row.goal if judged else None
            made.append(rows.against(pairs, peer.name, goal, also=small, beside=beside, floor=floor if judged else ""))
        return made

    def peers_alone(self, peers: list[Peer]) -> list[dict]:
        """The peers in turns, Baler left out."""
        took: dict[str, list[measure.Ran]] = {peer.name: [] for peer in peers}
        for turn in range(self.bench.pairs):
            for peer in peers if turn % 2 == 0 else peers[::-1]:
                if not peer.slow or turn < self.bench.slow_pairs:
                    took[peer.name].append(self.peer(peer))
        made = []
        for name, turns in took.items():
            seconds = statistics.median(ran.seconds for ran in turns)
            cpu = statistics.median(ran.cpu for ran in turns)
            beside = f"{self.beside(name)}, {self.text / 1e6 / seconds:,.0f} MB/s of text"
            made.append(
                {"against": name, "pairs": len(turns), "baler": "", "peer": f"{seconds:.3f}", "unit": "s", "goal": ""}
                | {"baler_cpu": "", "peer_cpu": f"{cpu:.3f}", "beside": beside}
            )
        return made

    def floor(self) -> str:
        """What the stages of the work cost each for itself, on a share of its sources; nothing where the tool is missing."""
        program = self.bench.baler.parent / "examples" / "stages"
        if not program.exists():
            return ""
        schema = ", ".join(f"{name}: {kind}" for name, kind in self.job["columns"].items())
        codec = self.job["compression"] + (f"={self.job['level']}" if "level" in self.job else "")
        files = self.job["inputs"][: max(1, int(len(self.job["inputs"]) * SHARE * 1e6 / self.text))]
        said = measure.run([program, "--format", self.job["format"], "--schema", schema, "--to", f"parquet:{codec}", *files])
        told = json.loads(said.stdout)
        stages = {"gunzip": "decompress_at_once", "parse": "decode", "encode": "encode"}
        if not str(files[0]).endswith(".gz"):
            del stages["gunzip"]
        seconds = {name: told["stages"][stage]["processor_seconds"] for name, stage in stages.items()}
        each = ", ".join(f"{name} {told['bytes_text'] / 1e6 / took:,.0f}" for name, took in seconds.items())
        least = sum(seconds.values()) * self.text / told["bytes_text"] / os.cpu_count()
        return f"MB/s of text on one processor: {each}; all of them on {os.cpu_count()} processors need {least:.2f} s"
