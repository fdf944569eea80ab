"""Where rows lie that queries keep on a worker, and how much room they may take.

Everything lies below one directory, which is emptied when the worker starts. Room is
taken before bytes are written, and given back when their files are removed.
"""

import asyncio
import errno
import itertools
import shutil
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from qserv.errors import LimitExceeded, QservError, TaskFailed

__all__ = ["Disk", "Folder", "unwritten"]

_RESERVE: Final = 512 * 2**20
"""Bytes of the file system that are left to everything else."""


def unwritten(error: OSError) -> QservError:
    """Return our error for rows that could not be written."""
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    kind = LimitExceeded if full else TaskFailed
    return kind(f"a worker cannot write rows to its disk: {error.strerror}")


class Disk:
    """The directory and its room.

    Parameters
    ----------
    root
        The directory; what is in it goes.
    limit
        Bytes that all files may take together.
    """

    def __init__(self, root: Path, *, limit: int) -> None:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        self._root = root
        self._limit = limit
        self._used = 0
        self._numbers = itertools.count(1)

    @property
    def used(self) -> int:
        """Bytes taken."""
        return self._used

    @property
    def left(self) -> int:
        """Bytes that may still be taken; less than 0 when the disk is too full."""
        free = shutil.disk_usage(self._root).free - _RESERVE
        return min(self._limit - self._used, free)

    def take(self, size: int) -> None:
        """Take room for bytes that will be written.

        Raises
        ------
        LimitExceeded
            If there is not so much.
        """
        if size > (left := self.left):
            raise LimitExceeded(
                f"rows that move between workers need {size} bytes of disk more on a "
                f"worker where {max(0, left)} are left, {self._used} in use and "
                f"{self._limit} allowed (setting spool_bytes): select fewer rows or "
                "columns, or give the workers more disk"
            )
        self._used += size

    def give(self, size: int) -> None:
        """Give room back."""
        self._used -= size

    def folder(self) -> "Folder":
        """Make a new folder for files that go together."""
        root = self._root / str(next(self._numbers))
        root.mkdir()
        return Folder(self, root)


class Folder:
    """Files that one owner made; all go when it is closed."""

    def __init__(self, disk: Disk, root: Path) -> None:
        self._disk = disk
        self._root = root
        self._sizes: dict[str, int] = {}
        self._closed = False

    def path(self, name: str) -> str:
        """Return where a file lies, whether it is there or not."""
        return str(self._root / name)

    def write(self, name: str, data: bytes) -> str:
        """Make a file; returns its path.

        Raises
        ------
        LimitExceeded
            If there is no room.
        TaskFailed
            If the disk takes no file.
        """
        self.took(name, len(data))
        try:
            Path(path := self.path(name)).write_bytes(data)
        except OSError as error:
            raise unwritten(error) from error
        return path

    def took(self, name: str, size: int) -> None:
        """Take room for bytes of a file; raises as `Disk.take`."""
        self._disk.take(size)
        self._sizes[name] = self._sizes.get(name, 0) + size

    def holds(self, path: str) -> bool:
        """Whether a file lies here."""
        return Path(path).parent == self._root

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone is fine."""
        self._disk.give(self._sizes.pop(name, 0))
        Path(self.path(name)).unlink(missing_ok=True)

    async def close(self) -> None:
        """Remove all; whoever maps a file keeps what it maps."""
        if not self._closed:
            self._closed = True
            self._disk.give(sum(self._sizes.values()))
            self._sizes.clear()
            # Whoever still writes finds no directory, instead of one that comes back.
            gone = self._root.rename(self._root.with_suffix(".gone"))
            removing = asyncio.to_thread(shutil.rmtree, gone, ignore_errors=True)
            # A task that is cancelled here has a thread left that does its work.
            await asyncio.shield(removing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
