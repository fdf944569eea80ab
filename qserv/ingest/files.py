"""Finds the files to load, and takes their fingerprints."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qserv.errors import BadContribution

PARQUET: Final = frozenset({".parquet", ".parq", ".pq"})
"""Suffixes of Parquet files."""
CSV: Final = frozenset({".csv"})
"""Suffixes of CSV files."""

_BLOCK: Final = 4 * 2**20
_WILDCARDS: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a file's bytes are.

    Parameters
    ----------
    sha256
        Of the whole file, 32 bytes.
    quotes
        How many ``"`` it has: an odd number in a CSV means that one never closes.
    """

    sha256: bytes
    quotes: int


def find(table: str, patterns: Sequence[str | Path]) -> tuple[Path, ...]:
    """Return the files that paths, directories and wildcards name, without repetition.

    Parameters
    ----------
    table
        The table they are for; only for messages.
    patterns
        Files; directories, of which all Parquet and CSV files below are taken; or
        wildcards as in a shell (``*``, ``?``, ``[…]``, ``**``).

    Raises
    ------
    BadContribution
        If one names nothing, or a file that is neither Parquet nor CSV.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        matches = sorted(_matches(Path(pattern)))
        if not matches:
            raise BadContribution(
                f"table {table}: there is no file {pattern}; give a file, a directory "
                "of Parquet or CSV files, or a wildcard"
            )
        found.update(dict.fromkeys(matches))
    for path in found:
        if not _readable(path):
            raise BadContribution(
                f"table {table}: {path} is neither Parquet nor CSV by its name; "
                f"rename it to end in {', '.join(sorted(PARQUET | CSV))}"
            )
    return tuple(found)


def fingerprint(path: Path) -> Fingerprint:
    """Read a file once and return its fingerprint.

    Raises
    ------
    BadContribution
        If it cannot be read.
    """
    digest, quotes = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                quotes += block.count(b'"')
    except OSError as error:
        raise BadContribution(f"{path}: cannot be read: {error.strerror}") from error
    return Fingerprint(digest.digest(), quotes)


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
    return _readable(path) and not hidden and path.is_file()


def _readable(path: Path) -> bool:
    return path.suffix.lower() in PARQUET | CSV
