"""When each file was last seen to be right, kept over restarts of a worker.

An append-only file of lines, each with a checksum of its own. Nothing here is ever
trusted more than the disk: a line counts only while the file's inode, size and times
are what they were when it was read. A line that is lost, torn or damaged means that a
file is read once more, and no worse.
"""

import json
import threading
import zlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

from qserv import failpoint
from qserv.storage.durable import write_file
from qserv.telemetry import logger

State = tuple[int, int, int, int]
"""Inode, size (bytes), times of modification and of change (ns)."""

_SPARE: Final = 1000
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Verification:
    """That a file was read whole and found right.

    Parameters
    ----------
    state
        Of the file while it was read.
    sha256
        Of its content, lower-case hexadecimal.
    when
        Seconds since 1970.
    """

    state: State
    sha256: str
    when: float


class VerifiedLog:
    """The verifications of one worker; its methods may be called from any thread.

    Parameters
    ----------
    path
        Of the file; made when the first verification is kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._failed = False

    def read(self) -> dict[str, Verification]:
        """Return the newest verification of each path, and drop all others."""
        known: dict[str, Verification] = {}
        lines = _lines(self._path)
        for line in lines:
            if (found := _decode(line)) is not None:
                path, verification = found
                known.pop(path, None)
                if verification is not None:
                    known[path] = verification
        if len(lines) > 2 * len(known) + _SPARE:
            self._rewrite(known)
        return known

    def keep(self, path: str, verification: Verification) -> None:
        """Remember a verification."""
        self._append(_encode(path, verification))

    def forget(self, path: str) -> None:
        """Remember that a path is not known to be good any more."""
        self._append(_encode(path, None))

    def _append(self, line: bytes) -> None:
        # Not synced: what a crash takes is only verified once more.
        try:
            with self._lock, self._path.open("ab", buffering=0) as file:
                failpoint.reached("worker.verified.kept")
                file.write(line)
        except OSError as error:
            if not self._failed:
                _log.warning(
                    "verifications are not kept over a restart", error=str(error)
                )
            self._failed = True
        else:
            self._failed = False

    def _rewrite(self, known: Mapping[str, Verification]) -> None:
        content = b"".join(_encode(path, each) for path, each in known.items())
        try:
            with self._lock:
                write_file(self._path, content)
        except OSError as error:
            _log.warning("old verifications stay on the disk", error=str(error))


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        _log.warning("kept verifications cannot be read", error=str(error))
        return []


def _encode(path: str, verification: Verification | None) -> bytes:
    values = None if verification is None else astuple(verification)
    body = json.dumps([path, values], separators=(",", ":")).encode()
    # A line that follows a torn one must not be joined with it.
    return b"\n%08x %s\n" % (zlib.crc32(body), body)


def _decode(line: bytes) -> tuple[str, Verification | None] | None:
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        return None
    path, values = json.loads(body)
    if values is None:
        return path, None
    state, sha256, when = values
    return path, Verification(tuple(state), sha256, when)
