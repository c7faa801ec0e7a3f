"""What a peer is asked to do, and the measure of it: without the start of its interpreter and its imports."""

import contextlib
import json
import os
import pathlib
import sys
import time


def asked() -> dict:
    """The job: `inputs`, `columns` with their types in Baler's words, `out`, and what a row asks for beside."""
    return json.loads(pathlib.Path(sys.argv[1]).read_text())


@contextlib.contextmanager
def measured(out: str | None):
    """Measures the work within, its outputs on the disk at the end, and prints seconds of the wall and of processors."""
    wall, used = time.perf_counter(), time.process_time()
    yield
    if out is not None:
        sync(pathlib.Path(out))
    print(json.dumps({"seconds": time.perf_counter() - wall, "cpu": time.process_time() - used}))


def sync(out: pathlib.Path) -> None:
    """Both sides end durable: Baler has written its outputs to the disk when it ends."""
    for path in [out, *out.rglob("*"), out.parent]:
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
