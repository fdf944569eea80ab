"""Reads files again and again, so that a disk that rots is found before it is asked.

In the background every file is read once in `age` seconds, at a limited rate, the
oldest verification first; a file that was never verified is the oldest. A pass that
somebody asked for reads all files. Reading happens in threads of a lower priority.
"""

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Final

from qserv import failpoint
from qserv.catalog.snapshot import ManifestEntry
from qserv.errors import Cancelled, CorruptData, TaskFailed
from qserv.storage.durable import write_file
from qserv.storage.inventory import Inventory
from qserv.storage.layout import WorkerDirectory
from qserv.storage.manifests import ManifestStore
from qserv.telemetry import logger
from qserv.worker.damage import Damages

__all__ = ["Pace", "Progress", "Scrub", "oldest_first"]

_LOOK_SECONDS: Final = 30.0
"""Between two looks for files whose verification is due; also after a start."""
_TELL_SECONDS: Final = 0.5
_NICE: Final = 10
_YOUNG_SECONDS: Final = 3600.0
"""A file that no manifest names yet may belong to a load that is being installed."""

_log = logger(__name__)


@dataclass(slots=True)
class Progress:
    """How far a pass is; counted up in its thread.

    Parameters
    ----------
    files_total, size_total
        To be read, and their bytes.
    files, size
        That were read.
    damaged
        What was found bad, with the reason.
    trouble
        What kept files from being read.
    """

    files_total: int
    size_total: int
    files: int = 0
    size: int = 0
    damaged: list[tuple[ManifestEntry, str]] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


class Pace:
    """Keeps a reader to a rate, and ends it when it is told to.

    Parameters
    ----------
    rate
        Bytes a second; 0: as fast as it goes.
    stop
        When it is set, the reader ends with `Cancelled`.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        rate: int,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._stop = stop
        self._clock = clock
        self._free_at = clock()

    def __call__(self, size: int) -> None:
        """Wait until `size` more bytes may have been read."""
        now = self._clock()
        if self._rate:
            # Time that was not used is not made up for by a burst.
            self._free_at = max(now, self._free_at) + size / self._rate
        if self._stop.wait(max(0.0, self._free_at - now) if self._rate else 0.0):
            raise Cancelled("the scrub was stopped")


def oldest_first(
    entries: Iterable[ManifestEntry],
    verified: Callable[[ManifestEntry], float | None],
    before: float,
) -> list[ManifestEntry]:
    """Return the files to be read, in the order in which to read them.

    Parameters
    ----------
    entries
        All files.
    verified
        When one was last found right; None for never.
    before
        Only those whose verification is older, seconds since 1970.
    """
    due = [(verified(entry) or 0.0, entry.path, entry) for entry in entries]
    return [
        entry for when, _, entry in sorted(due, key=lambda d: d[:2]) if when < before
    ]


class Scrub:
    """Scrubs one worker's files.

    Parameters
    ----------
    directory, manifests, inventory, damages
        Its disk, what it shall hold, what is good, and what is not.
    rate
        Bytes a second in the background; 0: nothing is read in the background.
    age
        Seconds after which a verification is renewed.
    clock
        Seconds since 1970.
    """

    def __init__(
        self,
        *,
        directory: WorkerDirectory,
        manifests: ManifestStore,
        inventory: Inventory,
        damages: Damages,
        rate: int,
        age: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.rate = rate
        self.age = age
        self._directory = directory
        self._manifests = manifests
        self._inventory = inventory
        self._damages = damages
        self._clock = clock
        self._stop = threading.Event()
        # One for the background, one for a pass that is asked for.
        self._threads = ThreadPoolExecutor(2, "scrub", initializer=_be_nice)

    async def run(self) -> None:
        """Renew verifications in the background, for ever."""
        while self.rate:
            await asyncio.sleep(_LOOK_SECONDS)
            due = await asyncio.to_thread(self.due)
            progress = _progress_of(due)
            await self._in_thread(due, self.rate, progress, self._stop)

    async def passing(self, rate: int) -> AsyncGenerator[Progress, None]:
        """Read every file once, whatever is known of it.

        Parameters
        ----------
        rate
            Bytes a second; 0: as fast as the disk gives.

        Yields
        ------
        Progress
            The same object each time: now and then, and when all were read.
        """
        trouble = await asyncio.to_thread(self._manifests.check)
        files = await asyncio.to_thread(self.files)
        entries = oldest_first(files, self._inventory.verified, inf)
        progress, stop = _progress_of(entries), threading.Event()
        progress.trouble += trouble
        work = asyncio.ensure_future(self._in_thread(entries, rate, progress, stop))
        try:
            while not work.done():
                yield progress
                await asyncio.wait([work], timeout=_TELL_SECONDS)
            await work
        finally:
            stop.set()
            await asyncio.wait([work])
        yield progress

    def files(self) -> list[ManifestEntry]:
        """Return all files that readable manifests name, each once; blocks."""
        return self._manifests.files()

    def due(self) -> list[ManifestEntry]:
        """Return the files to be verified now, in order; blocks."""
        files = self.files()
        self._damages.look(files)
        before = self._clock() - self.age
        missing = {damage.path for damage in self._damages.now()}
        return [
            entry
            for entry in oldest_first(files, self._inventory.verified, before)
            if entry.path not in missing
        ]

    def unknown(self) -> list[str]:
        """Return the files below ``data/`` that no manifest names; blocks.

        What an open load may just be installing is left out.
        """
        named = {entry.path for entry in self.files()}
        return sorted(
            path
            for path, file in _walk(self._directory.data)
            if path not in named and self._clock() - _age_of(file) > _YOUNG_SECONDS
        )

    @property
    def last_pass(self) -> float:
        """When all files were last known to be verified within `age`; 0 for never."""
        try:
            return float(json.loads(self._directory.scrub.read_bytes())["passed"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _in_thread(
        self,
        entries: Sequence[ManifestEntry],
        rate: int,
        progress: Progress,
        stop: threading.Event,
    ) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(
            self._threads, self._read, entries, Pace(rate, stop), progress
        )

    def _read(
        self, entries: Sequence[ManifestEntry], pace: Pace, progress: Progress
    ) -> None:
        def read(size: int) -> None:
            progress.size += size
            pace(size)

        for entry in entries:
            try:
                self._inventory.verify([entry], pace=read, from_disk=True)
            except CorruptData as error:
                # A long pass comes to files that have gone elsewhere since it began.
                if self._manifests.lists(entry.path):
                    progress.damaged.append((entry, error.text))
            except TaskFailed as error:
                progress.trouble.append(error.text)
            except Cancelled:
                return
            progress.files += 1
            failpoint.reached("worker.scrub.file")
        if not progress.trouble:
            self._passed()

    def _passed(self) -> None:
        failpoint.reached("worker.scrub.passed")
        try:
            content = json.dumps({"passed": self._clock()}).encode()
            write_file(self._directory.scrub, content)
        except OSError as error:
            _log.warning("a scrub that ended is not noted", error=str(error))


def _progress_of(entries: Sequence[ManifestEntry]) -> Progress:
    return Progress(len(entries), sum(entry.size for entry in entries))


def _be_nice() -> None:
    # Of this thread alone: Linux gives every thread a priority of its own.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _walk(data: Path) -> Iterable[tuple[str, Path]]:
    for folder, _, names in os.walk(data):
        for name in names:
            file = Path(folder) / name
            yield file.relative_to(data).as_posix(), file


def _age_of(file: Path) -> float:
    try:
        return file.stat().st_ctime
    except FileNotFoundError:
        return float("inf")
