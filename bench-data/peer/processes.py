"""The processes of a benchmark: steps before it, and workers that answer while it runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import clock
from cores import ALL_CORES

HERE = Path(__file__).resolve().parent


def say(text=""):
    print(text, flush=True)


def run(*args):
    """Runs one of the steps before the measurement, on all cores. Its output is for people."""
    done = subprocess.run([str(a) for a in args], env=ALL_CORES)
    if done.returncode != 0:
        sys.exit(
            f"bench: {Path(str(args[0])).name} {args[1]} ended with exit code {done.returncode}"
        )


def environment(folder, requirements, what):
    """Python with a file of `requirements` in it, made once; None if it cannot be made."""
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    if not stamp.exists() or stamp.read_bytes() != requirements.read_bytes():
        say(f"installing {what} (once)")
        shutil.rmtree(folder, ignore_errors=True)
        made = subprocess.run([sys.executable, "-m", "venv", folder]).returncode == 0
        pip = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r")
        if not made or subprocess.run([*pip, requirements]).returncode != 0:
            return None
        shutil.copy(requirements, stamp)
    return python


class Worker:
    """A process that answers requests, a line of JSON each: Ocelli's, and the peers' where they
    need one of their own. The first line that it writes is about itself."""

    def __init__(self, *command, env=None):
        self.process = subprocess.Popen(
            [str(c) for c in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        self.about = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"bench: {self.process.args[0]} ended with exit code {self.process.wait()}")
        return json.loads(line)

    def ask(self, *request):
        self.process.stdin.write(" ".join(map(str, request)) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def rate(self, n, answered, *request):
        """The answer to a request of n searches, and the searches a second: what the worker
        `answered`, a function of its answer; on a busy machine by the time on its core."""
        with clock.Of(self.process.pid) as spent:
            answer = self.ask(*request)
        return answer, n / spent.seconds if clock.is_cpu() else answered(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
