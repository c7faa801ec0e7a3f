"""The rows of the benchmark, and what is printed and written of them."""

import csv
import dataclasses
import pathlib
import platform
import os
import time
from typing import Callable

import chart
import measure

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
    run: Callable[["Bench", "Row"], list[dict]]
    is_ratio: bool = True


@dataclasses.dataclass
class Suite:
    """The rows of one verb; their results are kept under its name."""

    name: str
    rows: dict[str, Row]


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
    peers_only: bool
    every_pair: list[dict]

    def objects(self, count: int) -> int:
        return max(20, int(count * self.scale))

    def note_pairs(self, row: str, against: str, pairs: list[measure.Pair]) -> None:
        for turn, pair in enumerate(pairs, 1):
            took = [pair.baler.seconds, pair.peer.seconds, pair.baler.cpu, pair.peer.cpu]
            values = [row, against, turn, *(f"{seconds:.4f}" for seconds in took)]
            self.every_pair.append(dict(zip(PAIR_FIELDS, values)))


def measure_row(name: str, row: Row, bench: Bench) -> list[dict]:
    print(f"{name}: {row.work}", flush=True)
    began = time.monotonic()
    lines = row.run(bench, row)
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
    elif line["baler"]:
        said = f"{line['baler']} {line['unit']}"
    else:
        said = f"{line['against']}: {line['peer']} {line['unit']}"
    goal = f"; goal {line['goal']}: {line['met']}" if line.get("goal") else ""
    return f"{said}{goal}; {line.get('beside', '')}"


def table(lines: list[dict]) -> str:
    head = ["row", "against", "ratio (range)", "Baler", "peer", "processors", "goal", "met"]
    body = [
        [
            line["row"],
            line.get("against") or "-",
            f"{line['ratio']} ({line['low']} to {line['high']})" if line.get("ratio") else "-",
            f"{line['baler']} {line['unit']}" if line["baler"] else "-",
            f"{line['peer']} {line['unit']}" if line.get("peer") else "-",
            ", ".join(f"{line[side]} s" for side in ["baler_cpu", "peer_cpu"] if line.get(side)) or "-",
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


def measure_all(suite: Suite, names: list[str], bench: Bench, keep: bool) -> list[dict]:
    RESULTS.mkdir(exist_ok=True)
    table_file, pairs_file = RESULTS / f"{suite.name}.csv", RESULTS / f"{suite.name}-pairs.csv"
    order = list(suite.rows)
    goals = {name: row.goal for name, row in suite.rows.items() if row.is_ratio}
    made = []
    for name in names:
        lines = measure_row(name, suite.rows[name], bench)
        made += lines
        if not keep:
            continue
        known = [line for line in read(table_file) if line["row"] != name] + lines
        known.sort(key=lambda line: order.index(line["row"]))
        write(table_file, FIELDS, known)
        pairs = [pair for pair in read(pairs_file) if pair["row"] != name]
        pairs += [pair for pair in bench.every_pair if pair["row"] == name]
        pairs.sort(key=lambda pair: order.index(pair["row"]))
        write(pairs_file, PAIR_FIELDS, pairs)
        chart.draw(known, goals, RESULTS / f"{suite.name}.png")
    return made


def measure_rows(suite: Suite, names: list[str], args, binaries: pathlib.Path) -> int:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, Linux {platform.release()}")
    root = f"baler-bench-{os.getpid()}"
    disk, memory = pathlib.Path(args.scratch) / root, pathlib.Path(args.memory_scratch) / root
    disk.mkdir(), memory.mkdir()
    peers_only = getattr(args, "peers_only", False)
    bench = Bench(
        binaries / "baler",
        binaries / "baler-testkit-s3",
        disk,
        memory,
        args.pairs,
        args.slow_pairs,
        args.scale,
        getattr(args, "syscalls", False),
        peers_only,
        [],
    )
    try:
        # A share of the objects, or of the sides, is no result: nothing is kept of it.
        lines = measure_all(suite, names, bench, keep=args.scale == 1.0 and not peers_only)
    finally:
        measure.remove(disk), measure.remove(memory)
    if lines:
        print("\n" + table(lines))
    return 0
