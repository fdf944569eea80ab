"""One process of a cluster on this machine: started, watched, restarted, stopped."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Final

from qserv.errors import ClusterError
from qserv.telemetry import logger

START_DEADLINE: Final = 60.0
"""Seconds in which a process has to get ready."""

_BACK_OFF: Final = (0.1, 0.5, 2.0, 5.0, 10.0)
"""Seconds to wait before each restart of a part that keeps dying."""
_STEADY: Final = 60.0
"""Seconds of life after which earlier deaths of a part are forgotten."""

_log = logger(__name__)


class Part:
    """One process of a cluster, restarted when it dies.

    Parameters
    ----------
    name
        ``"czar"`` or ``"worker-1"`` …
    command
        Port -> arguments of ``qserv``; for a restart, the port that it had.
    log
        File that its standard error is appended to.
    lock
        Descriptor of the cluster's lock, which the process inherits.
    port
        Port of its first start; 0 takes any free one.
    restart
        Whether it is started again when it dies.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[int], Sequence[str]],
        *,
        log: Path,
        lock: int,
        port: int,
        restart: bool,
    ) -> None:
        self.name = name
        self.endpoint = ""
        self._command = command
        self._log = log
        self._lock = lock
        self._port = port
        self._restart = restart
        self._said_before = 0
        self._stopping = Event()
        self._starting = Lock()
        self._process = self._launch()
        self._thread = Thread(target=self._watch, name=name, daemon=True)

    @property
    def pid(self) -> int:
        """Process id of the process that runs now, or ran last."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def _launch(self) -> subprocess.Popen[bytes]:
        arguments = self._command(self._port)
        with self._log.open("ab") as log:
            self._said_before = log.tell()
            return subprocess.Popen(  # noqa: S603 it is this program
                [sys.executable, "-m", "qserv.cli.main", *arguments, "--leash"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=(self._lock,),
                start_new_session=True,
            )

    def wait_ready(self, deadline: float) -> str:
        """Wait for the process to say where it listens, then watch over it.

        Parameters
        ----------
        deadline
            On the clock `time.monotonic`.

        Returns
        -------
        str
            ``host:port``.

        Raises
        ------
        ClusterError
            If it died or took too long; with the last lines of its log.
        """
        if not self._hear(deadline):
            late = time.monotonic() >= deadline
            state = "did not get ready in time" if late else "died at its start"
            raise ClusterError(f"{self.name} {state}; {self.tail()}")
        self._thread.start()
        return self.endpoint

    def _hear(self, deadline: float) -> bool:
        process = self._process
        line = _read_line(process, deadline).split()
        if not line:
            return False
        self.endpoint = line[-1].decode()
        self._port = int(self.endpoint.rpartition(":")[2])
        return True

    def tail(self, lines: int = 12) -> str:
        """Return the end of what the process last started logged, for a message."""
        said = self._log.read_bytes()[self._said_before :]
        text = said.decode(errors="replace").splitlines()
        last = "\n  ".join(text[-lines:]) or "(it is empty)"
        return f"the end of {self._log}:\n  {last}"

    def _watch(self) -> None:
        deaths = 0
        born = time.monotonic()
        while True:
            self._process.wait()
            self._sweep()
            deaths = 0 if time.monotonic() - born > _STEADY else deaths
            if not self._may_restart(deaths):
                return
            deaths += 1
            with self._starting:
                if self._stopping.is_set():
                    return
                _close_pipes(self._process)
                self._process = self._launch()
            born = time.monotonic()
            self._hear(born + START_DEADLINE)

    def _may_restart(self, deaths: int) -> bool:
        """Say whether to start the part again, after its back-off."""
        if self._stopping.is_set() or not self._restart:
            return False
        if deaths == len(_BACK_OFF):
            _log.error("gave up", part=self.name, deaths=deaths, log=str(self._log))
            return False
        _log.warning(
            "died, starts again",
            part=self.name,
            status=self._process.returncode,
            after=_BACK_OFF[deaths],
        )
        return not self._stopping.wait(_BACK_OFF[deaths])

    def _sweep(self) -> None:
        """Kill what the process may have left behind: it led a group of its own."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process; after SIGKILL wait for its end."""
        process = self._process
        process.send_signal(number)
        if number is signal.SIGKILL:
            process.wait()

    def ask_to_stop(self) -> None:
        """Ask the process to end, and let it not be started again."""
        with self._starting:
            self._stopping.set()
            self._process.terminate()

    def make_stop(self, deadline: float) -> None:
        """Wait for the end of the process until the deadline, then kill it."""
        process = self._process
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _log.warning("had to be killed", part=self.name)
            process.kill()
            process.wait()
        if self._thread.is_alive():
            self._thread.join()
        self._sweep()
        _close_pipes(process)


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def _read_line(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    assert process.stdout is not None
    out = process.stdout.fileno()
    end = os.pidfd_open(process.pid)
    line = b""
    try:
        while not line.endswith(b"\n"):
            left = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([out, end], [], [], left)
            if out not in readable or not (more := os.read(out, 4096)):
                return b""
            line += more
    finally:
        os.close(end)
    return line
