"""What a person sees: commands, progress and results. What the commands say goes to log files."""

import fcntl
import json
import os
import pty
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = ROOT / "target" / "release"
BAR = 30
# Characters of a command that are shown; the log has all of it.
COMMAND = 120
# Seconds between lines of progress where there is no terminal, and before the first.
PIPE_SECONDS = 15
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COUNTS = re.compile(r"(\d[\d,]*)/(\d[\d,]*)")


def say(text=""):
    print(text, flush=True)


def head(text):
    say(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}")


def short(path):
    """A path as a person would type it: relative to the project where it lies in it."""
    return str(path).replace(f"{ROOT}/", "")


def shown(args):
    """A command as a person would type it, with the programs' names alone."""
    words = [short(a).removeprefix("target/release/") for a in args]
    return " ".join(shlex.quote(word) for word in words)


class Progress:
    """One line that says how far a command is: redrawn on a terminal, now and then in a pipe."""

    def __init__(self):
        self.live = sys.stdout.isatty()
        self.start = time.monotonic()
        self.next = self.start + (0.3 if self.live else PIPE_SECONDS)

    def show(self, text):
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + (0.2 if self.live else PIPE_SECONDS)
        seconds = f"{now - self.start:.0f} s"
        counts = COUNTS.search(text)
        done, total = (int(c.replace(",", "")) for c in counts.groups()) if counts else (0, 0)
        share = min(done / total, 1) if total else None
        if not self.live:
            say(f"  … {seconds}" + ("" if share is None else f", {done} of {total}"))
            return
        if share is None:
            line = f"  … {seconds}"
        else:
            full = round(BAR * share)
            line = f"  {'█' * full}{'░' * (BAR - full)} {done} of {total}, {seconds}"
        print(f"\r\x1b[2K{line[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)

    def end(self):
        if self.live:
            print("\r\x1b[2K", end="", flush=True)


class Stage:
    """Runs commands and keeps what they say in one log file."""

    def __init__(self, log):
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")

    def run(self, *args, quiet=False, allow=()):
        """Runs a command and returns what it printed. Exit codes in `allow` are no failure: None
        is returned."""
        args = [str(a) for a in args]
        if not quiet:
            text = shown(args).removesuffix(" --format json")
            say(f"$ {text if len(text) <= COMMAND else text[:COMMAND] + ' …'}")
        with self.log.open("a") as log:
            print(f"$ {shown(args)}", file=log, flush=True)
            out_path = self.log.with_suffix(".out")
            with out_path.open("w") as out:
                code = watch(args, out, log)
            text = out_path.read_text()
            out_path.unlink()
            if "json" not in args:  # results for programs
                log.write(text)
        if code in allow:
            return None
        if code != 0:
            say("\n".join(self.log.read_text().splitlines()[-20:]))
            sys.exit(f"demo: {shown(args)} ended with exit code {code}; log: {short(self.log)}")
        return text

    def json(self, *args, quiet=False):
        return json.loads(self.run(*args, "--format", "json", quiet=quiet))

    def keep(self, target, *args):
        """Runs a command unless the file that it makes is there already."""
        if target.exists():
            say(f"kept: {short(target)}")
        else:
            self.run(*args)


def watch(args, out, log):
    """Runs a command whose standard error is a terminal of our own, so that it draws its progress
    there; returns its exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        args, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=theirs, text=True
    )
    os.close(theirs)
    progress, rest = Progress(), b""
    os.set_blocking(ours, False)
    while True:
        ended = process.poll() is not None
        try:
            rest += os.read(ours, 65536)
        except BlockingIOError:
            if ended:
                break
            time.sleep(0.05)
        except OSError:  # the other side is closed
            if ended:
                break
            time.sleep(0.05)
        *lines, rest = rest.split(b"\n")
        for line in lines:
            text = plain(line)
            if text and not COUNTS.search(text):
                print(text, file=log, flush=True)
        progress.show(plain(rest))
    progress.end()
    os.close(ours)
    return process.returncode


def serve(args):
    """Runs a command that people see, until it ends or Ctrl-C ends it."""
    say(f"$ {shown(args)}")
    process = subprocess.Popen([str(a) for a in args], cwd=ROOT)
    try:
        process.wait()
    except KeyboardInterrupt:  # the command has it too
        process.wait()
        say()


def plain(line):
    """The text of a line of a terminal: what was written last over what was there."""
    text = ESCAPES.sub("", line.decode(errors="replace"))
    parts = [part for part in text.split("\r") if part.strip()]
    return parts[-1].rstrip() if parts else ""


class Server:
    """A server process; `address` is where it said that it listens."""

    def __init__(self, *args, log):
        say(f"$ {shown(args)} &")
        self.log = log.open("w")
        self.process = subprocess.Popen(
            [str(a) for a in args],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            start_new_session=True,
        )
        self.address = None
        for line in self.process.stdout:
            if found := re.search(r"listening on (\S+)", line):
                self.address = f"http://{found[1]}"
                break
        if not self.address:
            self.stop()
            sys.exit(f"demo: the server did not start:\n{log.read_text()}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
