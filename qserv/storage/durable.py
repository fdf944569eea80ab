"""Changes to the disk that a crash at any instruction leaves undone or done."""

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from qserv import failpoint

LOST: Final = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG})
"""What a disk, or a file system with checksums, says of bytes that it has lost."""


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Make a directory and its parents, durably; one that is there is fine."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def write_file(path: Path, content: bytes) -> None:
    """Give a file new content: afterwards, or after a crash, all of it or the old.

    Raises
    ------
    OSError
        If the disk does not take it; nothing but the old content is there then, or all
        of the new one.
    """
    make_directory(path.parent)
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        failpoint.reached("durable.write.written")
        fresh.replace(path)
    except OSError:
        # A full disk keeps no half of it.
        fresh.unlink(missing_ok=True)
        raise
    failpoint.reached("durable.write.replaced")
    sync_directory(path.parent)


def link_files(pairs: Iterable[tuple[Path, Path]], root: Path) -> None:
    """Give files second names, durably; syncs each directory once.

    Parameters
    ----------
    pairs
        The name that a file has and the one that it gets, in one file system. A second
        name that is there is left alone.
    root
        A directory that is there; second names lie below it.
    """
    touched: set[Path] = set()
    for source, target in pairs:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.hardlink_to(source)
            failpoint.reached("durable.link.linked")
        touched |= _above(target, root)
    for directory in sorted(touched):
        sync_directory(directory)
        failpoint.reached("durable.link.directory-synced")


def move_files(pairs: Iterable[tuple[Path, Path]], root: Path) -> None:
    """Give files other names, durably; syncs each directory once.

    A file is seen by its new name as it stays: to take its old name from it afterwards
    would change its times once more, under those who read it already.

    Parameters
    ----------
    pairs
        The name that a file has and the one that it gets, in one file system. What has
        that name is replaced.
    root
        A directory that is there; new names lie below it.
    """
    touched: set[Path] = set()
    for source, target in pairs:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
        failpoint.reached("durable.move.moved")
        touched |= _above(target, root)
    for directory in sorted(touched):
        sync_directory(directory)
        failpoint.reached("durable.move.directory-synced")


def _above(target: Path, root: Path) -> set[Path]:
    return {root / directory for directory in target.relative_to(root).parents}


def remove_file(path: Path) -> None:
    """Remove a file durably; one that is gone is fine."""
    path.unlink(missing_ok=True)
    if path.parent.is_dir():
        sync_directory(path.parent)


def remove_tree(directory: Path) -> None:
    """Remove a directory with all in it; one that is gone is fine."""
    if directory.is_dir():
        shutil.rmtree(directory)
        sync_directory(directory.parent)
