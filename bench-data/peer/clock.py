"""The clock of a benchmark: `wall`, or `cpu`, the processor's time that a process took.

On a machine that others use too, `cpu` leaves out what they took; caches and memory are still
shared.
"""

import os
import time

VARIABLE = "OCELLI_BENCH_CLOCK"
KINDS = ("wall", "cpu")


def add_argument(parser):
    parser.add_argument("--clock", choices=KINDS, default="wall", help="cpu: for busy machines")


def choose(kind):
    """For this process and those that it starts from now on."""
    os.environ[VARIABLE] = kind


def is_cpu():
    return os.environ.get(VARIABLE) == "cpu"


def now():
    """Seconds of this process."""
    return time.process_time() if is_cpu() else time.perf_counter()


class Of:
    """Seconds that a process of one thread spends on what happens inside a `with`; its wall time,
    unless the clock is `cpu`."""

    def __init__(self, pid):
        self.file = f"/proc/{pid}/schedstat"

    def read(self):
        if not is_cpu():
            return time.perf_counter()
        with open(self.file) as file:
            return int(file.read().split()[0]) / 1e9

    def __enter__(self):
        self.start = self.read()
        return self

    def __exit__(self, *_):
        self.seconds = self.read() - self.start
