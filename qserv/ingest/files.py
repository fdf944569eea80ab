"""Finds the files to load, and takes their fingerprints."""

import codecs
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from qserv.errors import BadContribution

PARQUET: Final = frozenset({".parquet", ".parq", ".pq"})
"""Suffixes of Parquet files."""
CSV: Final = frozenset({".csv"})
"""Suffixes of CSV files."""

_BLOCK: Final = 4 * 2**20
_QUOTE: Final = ord('"')
_AROUND: Final = np.frombuffer(b',\r\n"', np.uint8)
"""What may stand before a quote that opens and after one that closes."""
_WILDCARDS: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a file's bytes are.

    Parameters
    ----------
    sha256
        Of the whole file, 32 bytes.
    stray
        Where the first ``"`` is that neither opens nor closes a value of a CSV nor is
        one of two, or the last where it never closes, in bytes; None where all do.
    """

    sha256: bytes
    stray: int | None


def find(table: str, patterns: Sequence[str | Path]) -> tuple[Path, ...]:
    """Return the files that paths, directories and wildcards name, without repetition.

    Parameters
    ----------
    table
        The table they are for; only for messages.
    patterns
        Files; directories, of which all files below are taken but hidden ones and
        notes (``.*``, ``_*``); or wildcards as in a shell (``*``, ``?``, ``[…]``,
        ``**``).

    Raises
    ------
    BadContribution
        If one names nothing, or a file that is neither Parquet nor CSV.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        matches = sorted(_matches(Path(pattern)))
        if not matches:
            raise BadContribution(
                f"table {table}: there is no file {pattern}; give a file, a directory "
                "of Parquet or CSV files, or a wildcard"
            )
        for path in matches:
            # Two names of one file would load its rows twice.
            found.setdefault(path.resolve(), path)
    for path in found.values():
        if path.suffix.lower() not in PARQUET | CSV:
            raise BadContribution(
                f"table {table}: {path} is neither Parquet nor CSV by its name; "
                f"rename it to end in {', '.join(sorted(PARQUET | CSV))}, or give the "
                "files to load by name or wildcard"
            )
    return tuple(found.values())


def fingerprint(path: Path) -> Fingerprint:
    """Read a file once and return its fingerprint.

    Raises
    ------
    BadContribution
        If it cannot be read.
    """
    digest, quotes = hashlib.sha256(), Quotes()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                if path.suffix.lower() in CSV:
                    quotes.take(block)
    except OSError as error:
        raise BadContribution(f"{path}: cannot be read: {error.strerror}") from error
    return Fingerprint(digest.digest(), quotes.stray)


class Quotes:
    """Tells whether the quotes of a CSV are where they may be, block by block.

    Arrow takes what follows a closing quote for more of the value, and so a quote that
    was forgotten in one row and one more in another swallow all rows between them.
    """

    def __init__(self) -> None:
        self._read = 0
        self._count = 0
        self._before = b"\n"
        self._last: int | None = None
        self._stray: int | None = None

    @property
    def stray(self) -> int | None:
        """Where the first quote is that is out of place; None where there is none."""
        if self._stray is None and self._count % 2:
            return self._last
        return self._stray

    def take(self, block: bytes) -> None:
        """Take in the next bytes."""
        if not self._read and block.startswith(codecs.BOM_UTF8):
            self._read, block = len(codecs.BOM_UTF8), block[len(codecs.BOM_UTF8) :]
        # The byte before is seen again: what follows a quote may be in another block.
        seen = np.frombuffer(self._before + block, np.uint8)
        at = np.flatnonzero(seen[1:] == _QUOTE) + 1
        opens = (self._count + np.arange(at.size)) % 2 == 0
        bad = at[opens][~np.isin(seen[at[opens] - 1], _AROUND)]
        closing = at[~opens]
        if self._before == b'"' and self._count and self._count % 2 == 0:
            closing = np.append(0, closing)
        closing = closing[closing + 1 < seen.size]
        bad = np.append(bad, closing[~np.isin(seen[closing + 1], _AROUND)])
        if bad.size and self._stray is None:
            self._stray = self._read + int(bad.min()) - 1
        if at.size:
            self._last = self._read + int(at[-1]) - 1
        self._count += at.size
        self._read += len(block)
        self._before = block[-1:] or self._before


def _matches(pattern: Path) -> Iterable[Path]:
    if pattern.is_dir():
        return (path for path in pattern.rglob("*") if _visible(path, below=pattern))
    if pattern.exists():
        return (pattern,)
    if _WILDCARDS.isdisjoint(str(pattern)):
        return ()
    root = Path(pattern.anchor)
    return (p for p in root.glob(str(pattern.relative_to(root))) if p.is_file())


def _visible(path: Path, *, below: Path) -> bool:
    # Catalogs keep notes such as _metadata and .crc files beside their rows.
    parts = path.relative_to(below).parts
    hidden = any(part.startswith((".", "_")) for part in parts)
    return not hidden and path.is_file()
