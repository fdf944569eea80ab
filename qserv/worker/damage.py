"""Which files this worker's manifests name and it does not have any more.

The truth is on the disk: a copy that was found bad is not in its place, and a repaired
one is. So what is told to the czar is right whoever repairs it, and over every restart.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qserv.catalog.snapshot import ManifestEntry
from qserv.storage.quarantine import Quarantine
from qserv.wire.v1 import common_pb2

__all__ = ["TOLD", "Damage", "Damages"]

TOLD: Final = 1000
"""Damaged files that one message names at most."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that is named and not there.

    Parameters
    ----------
    entry
        What it was.
    reason
        What was found.
    found
        When, seconds since 1970.
    """

    entry: ManifestEntry
    reason: str
    found: float

    def message(self) -> common_pb2.DamagedFile:
        """Return it as a message."""
        return common_pb2.DamagedFile(
            path=self.entry.path, reason=self.reason, found=self.found
        )


class Damages:
    """The damaged files of one worker; safe to call from any thread.

    Parameters
    ----------
    data
        The directory that paths of entries begin below.
    quarantine
        Its notes say why a copy is not there.
    clock
        Seconds since 1970.
    """

    def __init__(
        self,
        *,
        data: Path,
        quarantine: Quarantine,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._data = data
        self._quarantine = quarantine
        self._clock = clock
        self._known: dict[str, Damage] = {}

    def add(self, entry: ManifestEntry, reason: str) -> None:
        """Remember what was found of a file."""
        self._known[entry.path] = Damage(entry, reason, self._clock())

    def look(self, entries: Iterable[ManifestEntry]) -> None:
        """Find which files are missing; costs a ``stat`` a file, about 2 µs.

        Parameters
        ----------
        entries
            All that manifests name: what they do not name is no damage any more.
        """
        missing = {e.path: e for e in entries if not (self._data / e.path).exists()}
        if missing.keys() - self._known.keys():
            notes = {note.path: note for note in self._quarantine.notes()}
        known = {}
        for path, entry in missing.items():
            if (before := self._known.get(path)) is not None:
                known[path] = before
            elif (note := notes.get(path)) is not None:
                known[path] = Damage(entry, note.reason, note.found)
            else:
                known[path] = Damage(entry, "it is missing", self._clock())
        self._known = known

    def now(self) -> list[Damage]:
        """Return the files that are still not there, sorted by path."""
        found = []
        for path, damage in sorted(self._known.items()):
            if (self._data / path).exists():
                self._known.pop(path, None)
            else:
                found.append(damage)
        return found

    def told(self) -> tuple[list[common_pb2.DamagedFile], int]:
        """Return the first of them as messages, and how many there are."""
        found = self.now()
        return [damage.message() for damage in found[:TOLD]], len(found)
