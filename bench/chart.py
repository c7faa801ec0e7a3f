"""The chart: how many times as fast, row by row, with the range of the pairs and the goal."""

import pathlib

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


def draw(lines: list[dict], goals: dict[str, float], path: pathlib.Path) -> None:
    lines = [line for line in lines if line.get("ratio")][::-1]
    if not lines:
        return
    figure, axes = pyplot.subplots(figsize=(9, 0.6 * len(lines) + 1.4))
    for at, line in enumerate(lines):
        ratio, low, high = (float(line[name]) for name in ["ratio", "low", "high"])
        judged = bool(line["goal"])
        axes.barh(at, ratio, color="#3b6ea5" if judged else "#a9bdd3", height=0.6)
        axes.plot([low, high], [at, at], color="black", linewidth=1.2)
        axes.text(max(ratio, high) * 1.04, at, f"{ratio:.2f}", va="center")
        if judged:
            goal = goals[line["row"]]
            axes.plot([goal, goal], [at - 0.4, at + 0.4], color="#c0392b", linewidth=2)
    axes.set_yticks(range(len(lines)), [f"{line['row']}\n{line['against'].replace('`', '')}" for line in lines], fontsize=8)
    axes.set_xscale("log")
    ticks = [0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 50]
    most = max(float(line["high"]) for line in lines)
    least = min(0.4, min(float(line["low"]) for line in lines) * 0.8)
    ticks = [tick for tick in ticks if least <= tick < most * 1.5]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(least, most * 1.6)
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xlabel("times as fast as the peer: median of the pairs, range, and goal (red)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    # No date or version inside: the same results give the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
