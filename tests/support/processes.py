"""Real processes of qserv, and what the kernel knows of them."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

READY = re.compile(rb"ready at (\S+?:\d+)")


class Program:
    """One ``qserv …`` process: ready when its line says so, killed at the end.

    Parameters
    ----------
    arguments
        Of ``qserv``.
    launcher
        What stands before it on the command line.
    log
        File for its standard error.
    """

    def __init__(self, *arguments, log: Path, launcher=()):
        command = [*launcher, sys.executable, "-m", "qserv.cli.main", *arguments]
        self.log = log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                list(map(str, command)), stdout=subprocess.PIPE, stderr=errors
            )

    @classmethod
    def of(cls, process, *, log: Path) -> "Program":
        """Return the program that a process runs."""
        program = cls.__new__(cls)
        program.process, program.log = process, log
        return program

    def ready(self) -> str:
        """Wait for the line that tells the endpoint, and return that."""
        for line in self.process.stdout:
            if found := READY.search(line):
                return found.group(1).decode()
        raise AssertionError(f"died: {self.log.read_text()}")

    def end(self, number=signal.SIGINT, seconds=30) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            finally:
                self.process.kill()
        self.process.stdout.close()
        self.process.wait()


def _state(pid: int) -> tuple[int, str] | None:
    """Return parent and state of a process, None if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[1]), fields[0]


def descendants(pid: int) -> set[int]:
    """Return the processes that a process started, and those that they started."""
    parents = {
        int(entry.name): state[0]
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and (state := _state(int(entry.name)))
    }
    found = {pid}
    while more := {child for child, p in parents.items() if p in found} - found:
        found |= more
    return found - {pid}


def alive(pids) -> set[int]:
    """Return those of the processes that still run."""
    states = {pid: _state(pid) for pid in pids}
    return {pid for pid, state in states.items() if state and state[1] not in "ZX"}


def until(condition, seconds=30.0):
    """Wait until a condition holds, and return it; the deadline bounds a hang."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)
    return result
