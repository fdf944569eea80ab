"""Where bad copies go: out of the way at once, kept for whoever asks why.

A copy is moved by one rename, so that no query begins to read it afterwards; a note
beside it says what was found. Nothing is ever read from here again but the notes.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from qserv import failpoint
from qserv.storage.durable import make_directory, sync_directory, write_file
from qserv.telemetry import logger

_NOTE: Final = ".note.json"
_LONGEST: Final = 200
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Note:
    """Why a copy lies in quarantine.

    Parameters
    ----------
    path
        Where it lay, below the worker's ``data/`` (a manifest: ``manifests/``).
    reason
        What was found.
    found
        When, seconds since 1970.
    """

    path: str
    reason: str
    found: float


class Quarantine:
    """The quarantine of one worker.

    Parameters
    ----------
    directory
        Where it is; made when it is needed first.
    clock
        Seconds since 1970.

    Attributes
    ----------
    taken
        Path -> the note of a copy that was just moved here, for whoever finds it gone.
    """

    def __init__(
        self, directory: Path, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.taken: dict[str, Note] = {}
        self._directory = directory
        self._clock = clock

    def take(self, file: Path, path: str, reason: str) -> Note:
        """Move a bad copy here, durably.

        Parameters
        ----------
        file
            The copy.
        path, reason
            As in `Note`.

        Raises
        ------
        OSError
            If the disk does not let it be moved.
        """
        note = self.note(path, reason)
        failpoint.reached("worker.quarantine.noted")
        self.taken[path] = note
        file.rename(self._directory / _name(note))
        failpoint.reached("worker.quarantine.moved")
        sync_directory(file.parent)
        sync_directory(self._directory)
        _log.error("a bad copy was put into quarantine", file=path, reason=reason)
        return note

    def note(self, path: str, reason: str) -> Note:
        """Remember durably what was found; also of a file that is gone.

        Parameters
        ----------
        path, reason
            As in `Note`.

        Raises
        ------
        OSError
            If the disk does not take it.
        """
        note = Note(path, reason, self._clock())
        make_directory(self._directory)
        content = json.dumps(asdict(note)).encode()
        write_file(self._directory / f"{_name(note)}{_NOTE}", content)
        return note

    def notes(self) -> Iterator[Note]:
        """Walk all notes, oldest first; one that cannot be read is left out."""
        found = []
        for file in self._directory.glob(f"*{_NOTE}"):
            try:
                found.append(Note(**json.loads(file.read_bytes())))
            except (OSError, ValueError, TypeError) as error:
                _log.warning("a note is unreadable", note=file.name, error=str(error))
        yield from sorted(found, key=lambda note: note.found)


def _name(note: Note) -> str:
    # Its end tells files apart; with a longer name a note would be none.
    end = note.path.replace("/", "~")[-_LONGEST:]
    return f"{end}.{int(note.found * 1000)}"
