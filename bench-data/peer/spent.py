"""What a command takes: seconds by the clock, seconds of processors, and its largest memory.

The system counts the memory that a process had before it became another program as memory of that
program. So the command is started by a small process, not by this one, which may hold gigabytes.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

# Runs a command and writes what it took to a file descriptor.
SMALL = """
import json, os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
took = {"code": os.waitstatus_to_exitcode(status), "wall_s": time.perf_counter() - start,
        "cpu_s": usage.ru_utime + usage.ru_stime, "peak_bytes": usage.ru_maxrss * 1024}
os.write(int(sys.argv[1]), json.dumps(took).encode())
"""


@dataclass
class Spent:
    """What a command printed, how it ended, and what it took."""

    printed: str
    code: int
    wall_s: float
    cpu_s: float
    peak_bytes: int


def run(*command):
    """Runs a command to its end."""
    words = [str(word) for word in command]
    read, write = os.pipe()
    small = [sys.executable, "-c", SMALL, str(write), *words]
    process = subprocess.Popen(small, stdout=subprocess.PIPE, text=True, pass_fds=[write])
    os.close(write)
    printed = process.stdout.read()
    with os.fdopen(read) as took:
        found = took.read()
    process.wait()
    if not found:
        sys.exit(f"bench: cannot run {' '.join(words)}")
    return Spent(printed, **json.loads(found))
