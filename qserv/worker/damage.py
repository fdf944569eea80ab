"""Which files this worker should have and has not.

The truth is on the disk: a copy that was found bad is not in its place, and a repaired
one is. So what is told to the czar is right whoever repairs it; over a restart, notes
in quarantine tell which copies were lost.

The czar is told of files that no manifest lists, too: while a copy is being repaired,
manifests may do without. People are told only of what manifests need.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from qserv.catalog.snapshot import ManifestEntry
from qserv.storage.quarantine import Note, Quarantine
from qserv.telemetry import logger
from qserv.wire.v1 import common_pb2

__all__ = ["TOLD", "Damages", "message"]

TOLD: Final = 1000
"""Damaged files that one message names at most."""

_log = logger(__name__)


class Damages:
    """The damaged files of one worker; safe to call from any thread.

    Parameters
    ----------
    data
        The directory that paths of entries begin below.
    quarantine
        Remembers what was found.
    listed
        Says of a path whether a manifest lists it; may block.
    """

    def __init__(
        self, *, data: Path, quarantine: Quarantine, listed: Callable[[str], bool]
    ) -> None:
        self._data = data
        self._listed = listed
        self._quarantine = quarantine
        self._known = {note.path: note for note in quarantine.notes()}

    def add(self, path: str, reason: str, note: Note | None = None) -> None:
        """Remember what was found of a file, if it is not in its place any more.

        Parameters
        ----------
        path, reason
            As in `Note`.
        note
            What quarantine has of it; None makes a note, unless there is one.
        """
        if (self._data / path).exists():
            return
        # Who looks for what is missing may come before who has just moved it away.
        taken = self._quarantine.taken.pop(path, None)
        if (note := note or taken) is not None:
            self._known[path] = note
        elif path not in self._known:
            self._known[path] = self._noted(path, reason)

    def look(self, entries: Iterable[ManifestEntry]) -> None:
        """Find which files are missing; costs a ``stat`` a file, about 2 µs.

        Parameters
        ----------
        entries
            All that manifests name.
        """
        self.now()
        for entry in entries:
            self.add(entry.path, "it is missing")

    def now(self) -> list[Note]:
        """Return the files that are still not there, the newest damage first."""
        found = []
        for path, note in tuple(self._known.items()):
            if (self._data / path).exists():
                self._known.pop(path, None)
            else:
                found.append(note)
        return sorted(found, key=lambda note: (-note.found, note.path))

    def needed(self) -> list[Note]:
        """Return those of them that a manifest lists; blocks, as `listed` may."""
        return [note for note in self.now() if self._listed(note.path)]

    def told(self) -> tuple[list[common_pb2.DamagedFile], int]:
        """Return the first of them as messages, and how many there are."""
        found = self.now()
        return [message(note) for note in found[:TOLD]], len(found)

    def _noted(self, path: str, reason: str) -> Note:
        try:
            return self._quarantine.note(path, reason)
        except OSError as error:
            _log.warning("a damage is not noted", file=path, error=str(error))
            return Note(path, reason, 0.0)


def message(note: Note) -> common_pb2.DamagedFile:
    """Return a damage as a message."""
    return common_pb2.DamagedFile(path=note.path, reason=note.reason, found=note.found)
