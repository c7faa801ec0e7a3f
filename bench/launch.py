"""Runs a command and writes what it took to a file: `launch.py REPORT COMMAND…`.

A process of its own, because the kernel counts the memory of the one that forks into the peak of the command that is
executed: this one is small, the benchmark is not.
"""

import os
import sys
import time

report, command = sys.argv[1], sys.argv[2:]
began = time.perf_counter()
child = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - began
with open(report, "w") as file:
    file.write(f"{seconds} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss * 1024}")
sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)
