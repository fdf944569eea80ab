"""Finds files on local disks by wildcard; what cannot be looked into is an error.

`pathlib` and `glob` leave out directories that they may not read, and directories that
are links where they look below one: rows would be missing, and nobody would know.
"""

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from qserv.ingest import stores

_WILDCARDS: Final = frozenset("*?[")
_ANY: Final = "**"
_BELOW: Final = (_ANY, "*")


def found(pattern: Path) -> Iterator[Path]:
    """Return the files that a path, a directory or a wildcard names.

    Parameters
    ----------
    pattern
        Absolute. Of a directory, all files below are taken but hidden ones and notes.

    Returns
    -------
    iterator of Path
        Links are followed; one that leads nowhere is a file, which has yet to be read.

    Raises
    ------
    BadContribution
        If a directory cannot be read, or not be entered.
    """
    with stores.named(str(pattern)):
        yield from _found(pattern)


def _found(pattern: Path) -> Iterator[Path]:
    if pattern.is_dir():
        # Catalogs keep notes such as _metadata and .crc files beside their rows.
        yield from (p for p in _matching(pattern, _BELOW) if _visible(p, below=pattern))
    elif pattern.exists():
        yield pattern
    elif not _WILDCARDS.isdisjoint(str(pattern)):
        root = Path(pattern.anchor)
        yield from _matching(root, pattern.relative_to(root).parts)


def _matching(
    above: Path, steps: Sequence[str], around: frozenset[str] = frozenset()
) -> Iterator[Path]:
    """Return the files below a directory that match the steps of a wildcard.

    A directory is not entered again inside of itself: `around` are those entered.
    """
    step, *rest = steps
    if step == _ANY:
        here = os.path.realpath(above)
        if here in around:
            return
        if rest:
            yield from _matching(above, rest)
        for path in _listed(above):
            if path.is_dir():
                yield from _matching(path, steps, around | {here})
        return
    for path in _named(above, step):
        if rest and path.is_dir():
            yield from _matching(path, rest)
        elif not rest and (path.is_file() or not path.exists()):
            yield path


def _named(above: Path, step: str) -> Iterator[Path]:
    if _WILDCARDS.isdisjoint(step):
        path = above / step
        return iter((path,) if _is_there(path) else ())
    return (path for path in _listed(above) if fnmatchcase(path.name, step))


def _is_there(path: Path) -> bool:
    # os.path.lexists says no, too, where nobody may look.
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _listed(directory: Path) -> list[Path]:
    with stores.named(str(directory)):
        return sorted(directory.iterdir())


def _visible(path: Path, *, below: Path) -> bool:
    return stores.visible(path.relative_to(below).parts)
