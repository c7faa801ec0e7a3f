"""Runs commands and measures them; sums up pairs."""

import dataclasses
import hashlib
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

LAUNCH = pathlib.Path(__file__).resolve().parent / "launch.py"


@dataclasses.dataclass
class Ran:
    """One command. Units: seconds of the wall and of processors, bytes of peak resident memory."""

    seconds: float
    cpu: float
    peak: int
    stdout: str


def run(command: list, env: dict | None = None, cwd: str | os.PathLike | None = None) -> Ran:
    """Runs a command to its end. Its peak counts its own process, not the page cache."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.NamedTemporaryFile("r") as took:
        launch = [sys.executable, "-I", "-S", LAUNCH, took.name]
        ended = subprocess.run(
            [str(word) for word in [*launch, *command]],
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        out.seek(0)
        err.seek(0)
        if ended.returncode != 0:
            said = err.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{command} ended with {ended.returncode}: {said}")
        seconds, cpu, peak = took.read().split()
        return Ran(float(seconds), float(cpu), int(peak), out.read().decode(errors="replace"))


def shell(script: str, **more) -> Ran:
    """Runs a script that stops at its first failure."""
    return run(["bash", "-euo", "pipefail", "-c", script], **more)


@dataclasses.dataclass
class Pair:
    """What both sides took in one turn."""

    baler: Ran
    peer: Ran

    @property
    def ratio(self) -> float:
        return self.peer.seconds / self.baler.seconds


@dataclasses.dataclass
class Summary:
    """How many times as fast Baler was: the median of the pairs' ratios, and their range."""

    ratio: float
    low: float
    high: float
    baler: float
    peer: float
    baler_cpu: float
    peer_cpu: float


def summary(pairs: list[Pair]) -> Summary:
    ratios = [pair.ratio for pair in pairs]
    return Summary(
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        statistics.median(pair.baler.seconds for pair in pairs),
        statistics.median(pair.peer.seconds for pair in pairs),
        statistics.median(pair.baler.cpu for pair in pairs),
        statistics.median(pair.peer.cpu for pair in pairs),
    )


def in_turns(count: int, baler, peer, name: str, first: bool = True) -> list[Pair]:
    """Measures both sides in turns, A B then B A, so that neither always comes behind the other.

    Both are functions that prepare, measure, and return what the command took. One turn of each goes before and is not counted, unless
    `first` is false.
    """
    if first:
        baler(), peer()
    pairs = []
    for turn in range(count):
        if turn % 2 == 0:
            ours = baler()
            theirs = peer()
        else:
            theirs = peer()
            ours = baler()
        pairs.append(Pair(ours, theirs))
        took = f"baler {ours.seconds:.2f} s ({ours.cpu:.2f}), peer {theirs.seconds:.2f} s ({theirs.cpu:.2f})"
        print(f"  {name} {turn + 1}/{count}: {took}, {pairs[-1].ratio:.2f}x", flush=True)
    return pairs


def hash_of(paths: list[pathlib.Path]) -> str:
    """One hash over the bytes of files in this order, and over where each ends."""
    whole = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def settle(*directories: os.PathLike) -> None:
    """Writes out what is dirty on these file systems: the turn before is not paid for by the next."""
    for directory in directories:
        subprocess.run(["sync", "--file-system", str(directory)], check=True)


def forget(paths: list[pathlib.Path]) -> None:
    """Takes files out of the page cache."""
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def remove(directory: pathlib.Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)


def empty(directory: pathlib.Path) -> pathlib.Path:
    remove(directory)
    directory.mkdir(parents=True)
    return directory


def syscalls(command: list, **more) -> dict[str, int] | None:
    """How many calls a command makes, by name; `None` without strace."""
    if shutil.which("strace") is None:
        return None
    with tempfile.NamedTemporaryFile("r") as counts:
        run(["strace", "-f", "-c", "-U", "calls,name", "-o", counts.name, *command], **more)
        found = {}
        for line in counts.read().splitlines():
            words = line.split()
            if len(words) == 2 and words[0].isdigit():
                found[words[1]] = int(words[0])
    found.pop("total", None)
    return found


def processor_seconds(pid: int) -> float:
    """What a running process has used of the processors."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Peak resident memory of a running process."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
