"""How much of its disk a worker may fill with files that are to stay."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from qserv.errors import DiskFull, QservError, TaskFailed

RESERVE: Final = 2 * 2**30
"""Bytes of a disk that are left free, unless a setting says otherwise …"""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_PART: Final = 20
"""… or of a small disk this part."""


class Room:
    """The room for files on one worker's disk.

    Parameters
    ----------
    root
        A directory on the disk.
    reserve
        Bytes that stay free; None: 2 GiB, or a twentieth of a disk below 40 GiB.

    Attributes
    ----------
    worker
        Its id, for messages.
    """

    def __init__(self, root: Path, reserve: int | None = None) -> None:
        self._root = root
        self._reserve = reserve
        self._promised = 0
        self.worker = ""

    @property
    def total(self) -> int:
        """Bytes of the disk."""
        return shutil.disk_usage(self._root).total

    @property
    def free(self) -> int:
        """Bytes that may still be taken; 0 when the disk is too full."""
        usage = shutil.disk_usage(self._root)
        least = min(RESERVE, usage.total // _PART)
        reserve = least if self._reserve is None else self._reserve
        return max(0, usage.free - reserve - self._promised)

    @contextmanager
    def taken(self, size: int, path: str) -> Iterator[None]:
        """Keep room for a file while it is written in the block.

        Raises
        ------
        DiskFull
            If there is not so much.
        TaskFailed
            If the disk does not take it.
        """
        if size > (free := self.free):
            raise self._full(size, path, free)
        self._promised += size
        try:
            yield
        except OSError as error:
            raise self.refused(error, size, path) from error
        finally:
            self._promised -= size

    @contextmanager
    def changing(self, what: str) -> Iterator[None]:
        """Tell, in errors of ours, what a disk says to a change in the block.

        Parameters
        ----------
        what
            That cannot be done then, for the message.

        Raises
        ------
        DiskFull
            If it is full.
        TaskFailed
            If it does not take the change for another reason.
        """
        try:
            yield
        except OSError as error:
            kind = DiskFull if error.errno in _FULL else TaskFailed
            why = error.strerror or error
            raise kind(f"worker {self.worker} cannot {what}: {why}") from error

    def refused(self, error: OSError, size: int, path: str) -> QservError:
        """Return our error for a file that the disk did not take."""
        if error.errno in _FULL:
            return self._full(size, path, self.free)
        why = os.strerror(error.errno) if error.errno else error
        return TaskFailed(f"worker {self.worker} cannot keep {path}: {why}")

    def _full(self, size: int, path: str, free: int) -> DiskFull:
        return DiskFull(
            f"worker {self.worker} has no room for {path}: {size} bytes are wanted and "
            f"{free} may be taken (setting disk_reserve keeps the rest free); free "
            "space on its disk, or add a worker: chunks move there"
        )
