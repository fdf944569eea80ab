"""No file is read before its bytes were found to match their checksum.

DuckDB does not check Parquet pages: one flipped bit gave a silent wrong answer in four
trials of five. So a file is read whole once, and what was found is remembered for as
long as the file's inode, size and times stay what they were, and for a time at most.

A copy that is found bad is moved into quarantine at once. Whoever has read files asks
afterwards whether they are still those that were verified (`Inventory.check`): what was
read of a file that changed, or was found bad meanwhile, must not be used.
"""

import fcntl
import hashlib
import mmap
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from qserv import patience
from qserv.catalog.snapshot import EVERYWHERE, ManifestEntry, Role
from qserv.errors import ClusterError, CorruptData, TaskFailed
from qserv.storage.durable import LOST
from qserv.storage.quarantine import Note, Quarantine
from qserv.storage.verified import State, Verification, VerifiedLog

_BLOCK: Final = 1 << 20
_TICK: Final = 0.02
"""Seconds between two times that a file system tells apart, at most: ticks of the
kernel. What is written twice within one looks as if it was written once."""
_AHEAD: Final = 3600.0
"""Seconds that a clock may be set back without files being read again."""
Pace = Callable[[int], None]
"""Told after each block how many bytes were read; may wait, or raise."""

Pinned = tuple[tuple[ManifestEntry, State], ...]
"""Files that were good, and what they looked like."""


class Inventory:
    """The files of one worker that are known to be good.

    Parameters
    ----------
    data
        The directory that paths of entries begin below.
    log
        Keeps what is known over restarts; None: in memory only.
    quarantine
        Takes bad copies; None leaves them where they are.
    damaged
        Called with each path that was found bad or missing, why, and the note that
        quarantine has of it, if it took the copy.
    trusted_for
        Seconds after which a verification is too old for a file to be used.
    clock
        Seconds since 1970.
    """

    def __init__(
        self,
        data: Path,
        *,
        log: VerifiedLog | None = None,
        quarantine: Quarantine | None = None,
        damaged: Callable[[str, str, Note | None], None] = lambda *_: None,
        trusted_for: float = float("inf"),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._data = data
        self._prefix = f"{data}{os.sep}"
        self._log = log
        self._quarantine = quarantine
        self._damaged = damaged
        self._trusted_for = trusted_for
        self._clock = clock
        self._good = log.read() if log else {}

    def unverified(self, entries: Iterable[ManifestEntry]) -> list[ManifestEntry]:
        """Return the files that must be read before their first use.

        Costs a ``stat`` a file, about 2 µs.
        """
        oldest = self._clock() - self._trusted_for
        return [
            entry
            for entry in entries
            if (found := self._known(entry)) is None or found.when < oldest
        ]

    def verified(self, entry: ManifestEntry) -> float | None:
        """Return when a file was last found right, as it is now; None for never."""
        return found.when if (found := self._known(entry)) else None

    def verify(
        self,
        entries: Iterable[ManifestEntry],
        *,
        pace: Pace = lambda _: None,
        from_disk: bool = False,
    ) -> None:
        """Read files whole; about 0.6 s a GB. Blocks: call it in a thread.

        Parameters
        ----------
        entries
            The files.
        pace
            Told how much was read.
        from_disk
            Read what the disk has, rather than what memory still holds of it.

        Raises
        ------
        CorruptData
            If a file is missing, cannot be read, or its size or sha256 is not what its
            entry says. The copy is in quarantine then.
        TaskFailed
            If a file could not be read for another reason.
        """
        bad: list[tuple[int, ClusterError]] = []
        for entry in entries:
            try:
                self._verify(entry, pace, from_disk=from_disk)
            except (CorruptData, TaskFailed) as error:
                bad.append((entry.chunk, error))
        if bad:
            chunks, errors = zip(*bad, strict=True)
            others = f"; and {len(bad) - 1} more files" if len(bad) > 1 else ""
            kind = type(errors[0])
            raise kind(f"{errors[0].text}{others}", sorted(set(chunks)))

    def ready(self, entries: Sequence[ManifestEntry]) -> Pinned:
        """Verify what must be, and pin all; blocks, and raises, as `verify`.

        Returns
        -------
        tuple
            Files and what they look like, to be checked when they were read.
        """
        if (pinned := self.pin(entries)) is None:
            self.verify(self.unverified(entries))
            pinned = self.pin(entries)
        if pinned is None:
            changed = self.unverified(entries)[:1] or entries[:1]
            raise CorruptData(_changed(changed[0]), [changed[0].chunk])
        return pinned

    def pin(self, entries: Iterable[ManifestEntry]) -> Pinned | None:
        """Return files as `ready` does, or None if one must be read first."""
        pinned = []
        oldest = self._clock() - self._trusted_for
        for entry in entries:
            if (found := self._known(entry)) is None or found.when < oldest:
                return None
            pinned.append((entry, found.state))
        return tuple(pinned)

    def check(self, pinned: Pinned) -> None:
        """Make sure that files that were read are those that were verified.

        Raises
        ------
        CorruptData
            If one changed since it was pinned, or was found bad.
        """
        for entry, state in pinned:
            found = self._known(entry)
            if found is None or found.state != state:
                raise CorruptData(_changed(entry), [entry.chunk])

    def _known(self, entry: ManifestEntry) -> Verification | None:
        known = self._good.get(entry.path)
        if known is None or known.sha256 != entry.sha256:
            return None
        if known.when > self._clock() + _AHEAD:
            # The clock was wrong then: it would be trusted for as long as that.
            return None
        try:
            found = _state(os.stat(self._prefix + entry.path))  # noqa: PTH116 4x faster
        except OSError:
            # Reading it will tell why.
            return None
        return known if known.state == found else None

    def _verify(self, entry: ManifestEntry, pace: Pace, *, from_disk: bool) -> None:
        file = self._data / entry.path
        # The earlier time: nothing younger than this was seen.
        when = self._clock()
        try:
            _settle(file)
            state, found = checksum(file, pace=pace, from_disk=from_disk)
        except FileNotFoundError:
            self._condemn(entry, "it is missing", None, move=False)
        except OSError as error:
            if error.errno not in LOST:
                raise TaskFailed(
                    f"file {named(entry)} cannot be read: {error.strerror}; see to the "
                    "worker's disk and permissions"
                ) from error
            self._condemn(entry, f"the disk cannot read it: {error.strerror}", None)
        else:
            if found != entry.sha256 or state[1] != entry.size:
                reason = (
                    f"it does not match its checksum: it has {state[1]} bytes with "
                    f"sha256 {found[:16]}…, loaded were {entry.size} with "
                    f"{entry.sha256[:16]}…"
                )
                self._condemn(entry, reason, state)
            self._keep(entry.path, Verification(state, found, when))

    def _keep(self, path: str, verification: Verification) -> None:
        self._good[path] = verification
        if self._log:
            self._log.keep(path, verification)

    def _forget(self, path: str) -> None:
        if self._good.pop(path, None) is not None and self._log:
            self._log.forget(path)

    def _condemn(
        self,
        entry: ManifestEntry,
        reason: str,
        state: State | None,
        *,
        move: bool = True,
    ) -> None:
        # First of all: a batch that has read it is refused from now on.
        self._forget(entry.path)
        file, note = self._data / entry.path, None
        if move and self._quarantine and _is_still(file, state):
            try:
                note = self._quarantine.take(file, entry.path, reason)
            except OSError as error:
                # It stays, unverified: every use of it finds this again.
                reason += f"; it cannot be moved away: {error.strerror}"
        self._damaged(entry.path, reason, note)
        raise CorruptData(
            f"file {named(entry)}: {reason}; restore it from another replica"
        )


def named(entry: ManifestEntry) -> str:
    """Return a file's path with what it holds, for people."""
    release, table, *_ = [*entry.path.split("/"), ""]
    whole = f"{release}.{table.partition('.')[0]}"
    match entry.role:
        case Role.INDEX:
            what = f"index shard {entry.chunk} of {whole}"
        case Role.OVERLAP:
            what = f"overlap of chunk {entry.chunk} of {whole}"
        case _:
            what = (
                whole
                if entry.chunk == EVERYWHERE
                else f"chunk {entry.chunk} of {whole}"
            )
    return f"{entry.path} ({what})"


def checksum(
    path: Path, *, pace: Pace = lambda _: None, from_disk: bool = False
) -> tuple[State, str]:
    """Read a file whole.

    Parameters
    ----------
    path
        Of the file.
    pace
        Told after each block how many bytes were read.
    from_disk
        Read past what the system holds of the file in memory, and have it forget that.

    Returns
    -------
    state
        Inode, size (bytes), times of modification and change (ns) while it was read.
    sha256
        Lower-case hexadecimal.

    Raises
    ------
    TaskFailed
        If the file changed meanwhile, however often it was read again.
    """
    return patience.for_still()(_checksum, path, pace, from_disk)


def _checksum(path: Path, pace: Pace, from_disk: bool) -> tuple[State, str]:
    with path.open("rb", buffering=0) as file:
        before = _state(os.fstat(file.fileno()))
        if from_disk:
            _past_memory(file.fileno())
        digest = hashlib.sha256()
        block = mmap.mmap(-1, _BLOCK)  # begins with a page, as the disk wants it
        read = 0
        while read < before[1] and (count := file.readinto(block)):
            digest.update(memoryview(block)[:count])
            pace(count)
            read += count
        if _state(os.fstat(file.fileno())) != before:
            raise TaskFailed(f"file {path.name} changed while it was read; try again")
    return before, digest.hexdigest()


def _past_memory(descriptor: int) -> None:
    """Read from the disk itself from now on: the faster way too, where there is one."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    # Some file systems lie in memory.
    with suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)


def _settle(file: Path) -> None:
    """Wait until any later change to a file will show in its times.

    One within the tick of the last change would not: what was verified before it would
    for ever pass for what is there. Only a file that was written right now waits, in
    the thread that reads it, and nothing could tell it sooner.
    """
    found = _state(file.stat())
    age = time.time() - max(found[2:]) / 1e9
    if 0 <= age < _TICK:
        time.sleep(_TICK - age)


def _is_still(file: Path, state: State | None) -> bool:
    # A good copy may have come in its place while the bad one was read to its end.
    try:
        return state is None or file.stat().st_ino == state[0]
    except OSError:
        return False


def _changed(entry: ManifestEntry) -> str:
    return (
        f"file {named(entry)} changed, or was found bad, while it was in use; ask again"
    )


def _state(found: os.stat_result) -> State:
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
