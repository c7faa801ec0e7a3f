"""What the commands of the benchmarks share: their arguments, the peers' environment, the binaries under test."""

import argparse
import os
import pathlib
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("BALER_CACHE") or pathlib.Path.home() / ".cache" / "baler")


def environment_of(packages: list[str]) -> pathlib.Path:
    return CACHE / ("venv-bench-" + "-".join(package.split("==")[1] for package in packages))


def environment(packages: list[str]) -> pathlib.Path:
    """Installs packages once, in pinned versions; returns the interpreter that has them."""
    home = environment_of(packages)
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        print(f"installing {', '.join(packages)} into {home}", file=sys.stderr)
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], check=True)
        (home / "complete").touch()
    return python


def build(wanted: list[list[str]]) -> pathlib.Path:
    """Builds what is wanted, unless BALER_BIN names a directory that holds it."""
    if given := os.environ.get("BALER_BIN"):
        return pathlib.Path(given)
    target = pathlib.Path(os.environ.setdefault("CARGO_TARGET_DIR", str(CACHE / "target")))
    for arguments in wanted:
        subprocess.run(["cargo", "build", "--release", "--locked", *arguments], cwd=HERE.parent, check=True)
    return target / "release"


def parser_of(doc: str) -> argparse.ArgumentParser:
    """The arguments that every benchmark takes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to measure; all where none is named")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument("--pairs", type=int, default=7, help="turns of each side, 5 at least (default 7)")
    parser.add_argument("--slow-pairs", type=int, default=3, help="turns of sides that take minutes each (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the objects of each row, to try the scripts")
    parser.add_argument("--scratch", default="/tmp", help="a directory on a disk (default /tmp)")
    parser.add_argument("--memory-scratch", default="/dev/shm", help="a directory in memory (default /dev/shm)")
    return parser


def within(packages: list[str], script: str) -> None:
    """Starts the script again in the environment of its packages, unless it runs there already."""
    if pathlib.Path(sys.prefix) == environment_of(packages) and (pathlib.Path(sys.prefix) / "complete").exists():
        return
    python = environment(packages)
    os.execv(python, [str(python), script, *sys.argv[1:]])


def measure(suite, parser: argparse.ArgumentParser, args: argparse.Namespace, wanted: list[list[str]]) -> int:
    """Measures the rows that were asked for."""
    import rows

    if args.list:
        for name, row in suite.rows.items():
            print(f"{name:10} {row.work}; goal: {row.goal_text}")
        return 0
    if args.pairs < 5 and args.scale == 1.0:
        parser.error("fewer than 5 pairs say nothing")
    if unknown := [name for name in args.rows if name not in suite.rows]:
        parser.error(f"no row `{unknown[0]}`; there are {', '.join(suite.rows)}")
    return rows.measure_rows(suite, args.rows or list(suite.rows), args, build(wanted))
