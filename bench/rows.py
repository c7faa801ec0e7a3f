"""The rows of the benchmark, and what is printed and written of them."""

import csv
import dataclasses
import pathlib
import platform
import os
import time
from typing import Callable

import chart
import local
import measure
import s3

RESULTS = pathlib.Path(__file__).resolve().parent / "results"
FIELDS = ["row", "work", "against", "pairs", "baler", "peer", "unit", "baler_cpu", "peer_cpu"]
FIELDS += ["ratio", "low", "high", "goal", "met", "load", "beside", "floor"]
PAIR_FIELDS = ["row", "against", "turn", "baler", "peer", "baler_cpu", "peer_cpu"]


@dataclasses.dataclass
class Row:
    """A piece of work with its goal. A goal is the least ratio, or the most of a figure."""

    work: str
    goal: float
    goal_text: str
    run: Callable[["Bench"], list[dict]]


@dataclasses.dataclass
class Bench:
    """What every row is handed."""

    baler: pathlib.Path
    server: pathlib.Path
    disk: pathlib.Path
    memory: pathlib.Path
    pairs: int
    slow_pairs: int
    scale: float
    syscalls: bool
    every_pair: list[dict]

    def objects(self, count: int) -> int:
        return max(20, int(count * self.scale))

    def note_pairs(self, row: str, against: str, pairs: list[measure.Pair]) -> None:
        for turn, pair in enumerate(pairs, 1):
            took = [pair.baler.seconds, pair.peer.seconds, pair.baler.cpu, pair.peer.cpu]
            values = [row, against, turn, *(f"{seconds:.4f}" for seconds in took)]
            self.every_pair.append(dict(zip(PAIR_FIELDS, values)))


ROWS: dict[str, Row] = {
    "tmpfs": Row("100,000 files of 10 KB into 100 MB outputs, in memory", 1.5, "1.5 times as fast", local.tmpfs),
    "disk": Row("the same on a disk, durable", 0.9, "0.9 of the speed of writing and syncing", local.disk),
    "large": Row("200 files of 50 MB on a disk into 1 GB outputs", 0.9, "0.9 times as fast, under 200 MB of memory", local.large),
    "s3-small": Row("20,000 objects of 20 KB on S3, 15 ms away", 3.0, "3 times as fast", s3.small),
    "s3-mixed": Row("2,000 objects of 50 KB to 20 MB on S3, 15 ms away", 3.0, "3 times as fast, fewest bytes", s3.mixed),
    "plan": Row("planning a million objects", 3.0, "under 3 s behind the listing, 600 bytes an object", local.plan),
    "start": Row("`baler --version`", 20.0, "under 20 ms", local.start),
}


def measure_row(name: str, bench: Bench) -> list[dict]:
    row = ROWS[name]
    print(f"{name}: {row.work}", flush=True)
    began = time.monotonic()
    lines = row.run(bench)
    for line in lines:
        line.update(row=name, work=row.work, load=f"{os.getloadavg()[0]:.1f}")
        line.setdefault("goal", row.goal_text)
        print("  " + tell(line), flush=True)
    print(f"  ({time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f})", flush=True)
    return lines


def against(pairs: list[measure.Pair], peer: str, goal: float | None, also: bool = True, **more) -> dict:
    """The line of a comparison. `also` is whether what the goal asks for beside speed holds."""
    sums = measure.summary(pairs)
    met = "" if goal is None else ("yes" if sums.ratio >= goal and also else "no")
    return {
        "against": peer,
        "pairs": len(pairs),
        "baler": f"{sums.baler:.3f}",
        "peer": f"{sums.peer:.3f}",
        "unit": "s",
        "baler_cpu": f"{sums.baler_cpu:.3f}",
        "peer_cpu": f"{sums.peer_cpu:.3f}",
        "ratio": f"{sums.ratio:.2f}",
        "low": f"{sums.low:.2f}",
        "high": f"{sums.high:.2f}",
        "met": met,
        **({"goal": ""} if goal is None else {}),
        **more,
    }


def alone(value: float, unit: str, most: float, also: bool = True, **more) -> dict:
    """The line of a figure that has no peer."""
    met = "yes" if value <= most and also else "no"
    return {"against": "", "baler": f"{value:.3f}", "unit": unit, "met": met, **more}


def tell(line: dict) -> str:
    if line.get("ratio"):
        said = f"{line['ratio']}x ({line['low']} to {line['high']}) of {line['against']}: {line['baler']} s, {line['peer']} s"
    else:
        said = f"{line['baler']} {line['unit']}"
    goal = f"; goal {line['goal']}: {line['met']}" if line.get("goal") else ""
    return f"{said}{goal}; {line.get('beside', '')}"


def table(lines: list[dict]) -> str:
    head = ["row", "against", "ratio (range)", "Baler", "peer", "processors", "goal", "met"]
    body = [
        [
            line["row"],
            line.get("against") or "-",
            f"{line['ratio']} ({line['low']} to {line['high']})" if line.get("ratio") else "-",
            f"{line['baler']} {line['unit']}",
            f"{line['peer']} {line['unit']}" if line.get("peer") else "-",
            f"{line['baler_cpu']} s, {line['peer_cpu']} s" if line.get("baler_cpu") else "-",
            line.get("goal") or "-",
            line.get("met") or "-",
        ]
        for line in lines
    ]
    widths = [max(len(cells[i]) for cells in [head, *body]) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip() for cells in [head, *body])


def read(path: pathlib.Path) -> list[dict]:
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write(path: pathlib.Path, fields: list[str], lines: list[dict]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, fields, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def measure_all(names: list[str], bench: Bench, keep: bool) -> list[dict]:
    RESULTS.mkdir(exist_ok=True)
    table_file, pairs_file = RESULTS / "combine.csv", RESULTS / "pairs.csv"
    for name in names:
        lines = measure_row(name, bench)
        if not keep:
            continue
        order = list(ROWS)
        known = [line for line in read(table_file) if line["row"] != name] + lines
        known.sort(key=lambda line: order.index(line["row"]))
        write(table_file, FIELDS, known)
        pairs = [pair for pair in read(pairs_file) if pair["row"] != name]
        pairs += [pair for pair in bench.every_pair if pair["row"] == name]
        pairs.sort(key=lambda pair: order.index(pair["row"]))
        write(pairs_file, PAIR_FIELDS, pairs)
        chart.draw(known, RESULTS / "combine.png")
    return [line for line in read(table_file) if line["row"] in names] if keep else []


def measure_rows(names: list[str], args, binaries: pathlib.Path) -> int:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, Linux {platform.release()}")
    root = f"baler-bench-{os.getpid()}"
    disk, memory = pathlib.Path(args.scratch) / root, pathlib.Path(args.memory_scratch) / root
    disk.mkdir(), memory.mkdir()
    bench = Bench(
        binaries / "baler", binaries / "baler-testkit-s3", disk, memory, args.pairs, args.slow_pairs, args.scale, args.syscalls, []
    )
    try:
        # A share of the objects is no result: nothing is kept of it.
        lines = measure_all(names, bench, keep=args.scale == 1.0)
    finally:
        local.remove(disk), local.remove(memory)
    if lines:
        print("\n" + table(lines))
    return 0
