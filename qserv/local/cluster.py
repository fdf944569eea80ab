"""One czar and some workers on this machine: `LocalCluster`."""

import fcntl
import os
import shlex
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import IO, Final

from qserv.client.connection import Connection
from qserv.errors import ClusterError, Conflict, InvalidRequest
from qserv.local.part import START_DEADLINE, Part

DEFAULT_WORKERS: Final = 3
STOP_DEADLINE: Final = 10.0
"""Seconds in which every part has to stop before it is killed."""

_CZAR: Final = "czar"
_ENDPOINT: Final = "endpoint"
_LOCK: Final = "lock"


def read_endpoint(directory: Path) -> str:
    """Return where the czar of a cluster on this machine listens.

    Parameters
    ----------
    directory
        The cluster's directory.

    Raises
    ------
    InvalidRequest
        If no cluster runs there.
    """
    with suppress(OSError):
        endpoint = (directory / _ENDPOINT).read_text(encoding="utf-8").strip()
        if _is_locked(directory):
            return endpoint
    raise InvalidRequest(
        f"no cluster runs in {directory.resolve()}: start one with `qserv up --dir "
        f"{shlex.quote(str(directory))}`, or name a czar with --czar HOST:PORT"
    )


class LocalCluster:
    """One czar and some workers on this machine, as processes of their own.

    A context manager that gives a connection::

        with qserv.LocalCluster(workers=3) as db:
            db.load("mine", {"Object": "objects.parquet"}, schema="mine.yaml")
            db.query("SELECT COUNT(*) FROM mine.Object").to_arrow()

    Parameters
    ----------
    workers
        How many workers; None means as many as the directory has, or three.
    directory
        Where everything is kept, and found again by the next cluster started there;
        None makes a temporary one that goes when the cluster stops.
    port
        Port of the czar; 0 takes any free one. Workers always take a free one.
    replicas
        Copies of each chunk of a new family; None: two where there are two workers or
        more.
    threads
        DuckDB threads of each worker.
    metadata
        Where the metadata is: ``"sqlite"``, or a URL of PostgreSQL; empty: where it
        was, at first SQLite.
    restart
        Whether a part that dies is started again.
    deadline
        Seconds in which everything has to be ready.
    worker_arguments
        More arguments of ``qserv worker``, by worker name, such as
        ``{"worker-1": ["--failpoint", "worker.task.data-sent"]}``.
    log_level
        The least severe lines in the parts' logs, in ``<directory>/logs``.
    """

    def __init__(
        self,
        workers: int | None = None,
        directory: str | Path | None = None,
        *,
        port: int = 0,
        replicas: int | None = None,
        threads: int = 1,
        metadata: str = "",
        restart: bool = True,
        deadline: float = START_DEADLINE,
        worker_arguments: Mapping[str, Sequence[str]] | None = None,
        log_level: str = "info",
    ) -> None:
        self._temporary = not directory
        self.workers = _worker_names(workers, Path(directory) if directory else None)
        self.directory = Path(directory or tempfile.mkdtemp(prefix="qserv-")).resolve()
        self.endpoint = ""
        self._port = port
        self._replicas = replicas
        self._threads = threads
        self._metadata = metadata
        self._restart = restart
        self._deadline = deadline
        self._worker_arguments = worker_arguments or {}
        self._log_level = log_level
        self._parts: dict[str, Part] = {}
        self._lock: IO[str] | None = None
        self._connection: LocalConnection | None = None

    def start(self) -> "LocalConnection":
        """Start everything and wait until all workers have joined the czar.

        Raises
        ------
        Conflict
            If a cluster runs in the directory already.
        InvalidRequest
            If the directory cannot be made or written.
        ClusterError
            If a part died or was not ready in time; nothing is left running.
        """
        _make(self.directory / "logs")
        self._lock = _locked(self.directory)
        (self.directory / _ENDPOINT).unlink(missing_ok=True)
        deadline = time.monotonic() + self._deadline
        try:
            self.endpoint = self._launch(_CZAR).wait_ready(deadline)
            for part in [self._launch(name) for name in self.workers]:
                part.wait_ready(deadline)
            self._connection = LocalConnection(self)
            self.wait_whole(deadline - time.monotonic())
            _write_whole(self.directory / _ENDPOINT, self.endpoint + "\n")
        except BaseException:
            self.stop()
            raise
        return self._connection

    def _launch(self, name: str) -> Part:
        assert self._lock is not None
        self._parts[name] = part = Part(
            name,
            self._czar if name == _CZAR else self._worker(name),
            log=self.directory / "logs" / f"{name}.log",
            lock=self._lock.fileno(),
            port=self._port if name == _CZAR else 0,
            restart=self._restart,
        )
        return part

    def _common(self, name: str, port: int) -> list[str]:
        return [
            *("--dir", str(self.directory / name)),
            *("--port", str(port)),
            *("--log-level", self._log_level),
        ]

    def _czar(self, port: int) -> list[str]:
        arguments = self._common(_CZAR, port)
        if self._metadata:
            arguments += ["--metadata", self._metadata]
        if self._replicas:
            arguments += ["--replicas", str(self._replicas)]
        return ["czar", *arguments]

    def _worker(self, name: str) -> Callable[[int], list[str]]:
        return lambda _: [
            "worker",
            *self._common(name, 0),
            *("--czar", self.endpoint),
            *("--threads", str(self._threads)),
            *self._worker_arguments.get(name, ()),
        ]

    def add(self, timeout: float = START_DEADLINE) -> str:
        """Start one more worker, and wait until it has joined; return its name.

        Parameters
        ----------
        timeout
            In seconds.

        Raises
        ------
        ClusterError
            If it takes longer.
        """
        name = f"worker-{len(self.workers) + 1}"
        self.workers = (*self.workers, name)
        self._launch(name).wait_ready(time.monotonic() + timeout)
        self.wait_whole(timeout)
        return name

    def revive(self, name: str, timeout: float = START_DEADLINE) -> None:
        """Start a part again that was killed and is not started again by itself.

        Parameters
        ----------
        name
            Which part.
        timeout
            In seconds.

        Raises
        ------
        ClusterError
            If it takes longer.
        """
        self._parts[name].make_stop(time.monotonic())
        self._launch(name).wait_ready(time.monotonic() + timeout)

    def worker_id(self, name: str) -> str:
        """Return the id that a worker has in the cluster."""
        assert self._connection is not None
        endpoint = self._parts[name].endpoint
        workers = self._connection.status().workers
        return next(worker.id for worker in workers if worker.endpoint == endpoint)

    def wait_whole(self, timeout: float = START_DEADLINE) -> None:
        """Wait until every part runs and the czar sees every worker.

        Parameters
        ----------
        timeout
            In seconds.

        Raises
        ------
        ClusterError
            If it takes longer; says what is missing.
        """
        deadline = time.monotonic() + timeout
        nothing = Event()
        while missing := self._missing():
            if time.monotonic() > deadline:
                tails = "\n".join(self._parts[name].tail() for name in missing)
                raise ClusterError(f"not ready: {', '.join(missing)}; {tails}")
            nothing.wait(0.02)

    def _missing(self) -> list[str]:
        assert self._connection is not None
        if down := [name for name, part in self._parts.items() if not part.running]:
            return down
        try:
            seen = self._connection.status().workers
        except ClusterError:
            return [_CZAR]
        alive = {worker.endpoint for worker in seen if worker.alive}
        return [w for w in self.workers if self._parts[w].endpoint not in alive]

    @property
    def processes(self) -> dict[str, int]:
        """Process ids of the parts that run, by name."""
        return {name: part.pid for name, part in self._parts.items() if part.running}

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a part.

        Parameters
        ----------
        name
            Which part: ``"czar"``, ``"worker-1"`` and so on.
        number
            SIGKILL unless told otherwise, whose effect is waited for; a part that dies
            is started again.

        Raises
        ------
        InvalidRequest
            If there is no such part.
        """
        if (part := self._parts.get(name)) is None:
            raise InvalidRequest(f"no part {name}; there are {', '.join(self._parts)}")
        part.signal(number)

    def stop(self) -> None:
        """Stop every part; kill what does not stop in time. Nothing is left running."""
        deadline = time.monotonic() + STOP_DEADLINE
        (self.directory / _ENDPOINT).unlink(missing_ok=True)
        if self._connection is not None:
            self._connection.close()
        for part in self._parts.values():
            part.ask_to_stop()
        for part in self._parts.values():
            part.make_stop(deadline)
        self._parts.clear()
        if self._lock is not None:
            self._lock.close()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> "LocalConnection":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class LocalConnection(Connection):
    """A connection to a cluster on this machine.

    Parameters
    ----------
    cluster
        The cluster, which the connection keeps at hand.
    """

    def __init__(self, cluster: LocalCluster) -> None:
        super().__init__(cluster.endpoint)
        self.cluster = cluster


def _worker_names(wanted: int | None, directory: Path | None) -> tuple[str, ...]:
    held = sum(1 for _ in directory.glob("worker-*")) if directory else 0
    number = wanted if wanted is not None else held or DEFAULT_WORKERS
    if number < (least := max(1, held)):
        why = f": {directory} has the data of {held}" if held else ""
        raise InvalidRequest(
            f"{number} workers are too few, start at least {least}{why}"
        )
    return tuple(f"worker-{n}" for n in range(1, number + 1))


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(
            f"cannot make the directory {directory}: {error.strerror}; "
            "give another with --dir"
        ) from error


def _locked(directory: Path) -> IO[str]:
    try:
        file = (directory / _LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(
            f"cannot write in the directory {directory}: {error.strerror}; "
            "give another with --dir"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise Conflict(
            f"a cluster runs in {directory} already, started by process {holder}; "
            "stop it, or give another directory with --dir"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _is_locked(directory: Path) -> bool:
    """Say whether a cluster holds the lock; one that was killed leaves its files."""
    with (directory / _LOCK).open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever reads half of it."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
