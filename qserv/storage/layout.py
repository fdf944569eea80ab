"""Every name on a worker's disk, decided in one room.

Below the worker's directory::

    lock, worker.json                  one process at a time; who this worker is
    format                             the number of the format of all this
    data/                              immutable Parquet files; all that DuckDB may see
      <release>/<table>/dataset/Norder=k/Dir=d/Npix=p/<name>.parquet    own rows
      <release>/<table>.overlap/dataset/Norder=k/Dir=d/Npix=p/<name>.parquet
      <release>/<table>/all/<name>.parquet             a replicated table's copy
      <release>/<table>.index/<shard>/<name>.parquet   key -> home
    staging/<transaction>/             files that are not yet installed, flat
    manifests/<release>/<table>/<version>.json
    spill/<executor>/                  DuckDB's, emptied at every start
    spool/                             rows of running queries, emptied at every start
    catalog/<epoch>-<revision>.json, catalog/parts/  what the czar's metadata says
    verified.log, scrub.json           when files were found right; the last whole scrub
    quarantine/                        bad copies, and a note of what was found

Own files and their overlap follow HATS: ``dataset`` of the table is a catalog, that of
``<table>.overlap`` its margin, ``Dir`` is the pixel rounded down to 10000. Paths that
travel, such as `ManifestEntry.path`, begin below ``data/``.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from qserv.errors import InvalidRequest

DIRECTORY_STEP: Final = 10_000
"""HATS: pixels in one ``Dir=``."""

PULL: Final = "pull-"
"""What copies from peers arrive in begins with this; no transaction does."""

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+-]*")
_PATH: Final = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_+-]*(/[A-Za-z0-9_][A-Za-z0-9_=.+-]*)+\.parquet"
)
# No path of ours has one.
_SLASH: Final = "~"
_LONGEST_PATH: Final = 240


def base_path(release: str, table: str, chunk: int, name: str) -> str:
    """Return the path of a file with a chunk's own rows.

    Parameters
    ----------
    release, table
        The catalog's spelling; letters, digits, ``_``, ``+`` and ``-``.
    chunk
        NUNIQ id of the chunk.
    name
        What makes the file unique: ``f"{transaction}-{part}"``.

    Raises
    ------
    InvalidRequest
        If a part cannot be a file's name.
    """
    return f"{_checked(release)}/{_checked(table)}/{_leaf(chunk, name)}"


def overlap_path(release: str, table: str, chunk: int, name: str) -> str:
    """Return the path of a file with the rows around a chunk; as `base_path`."""
    return f"{_checked(release)}/{_checked(table)}.overlap/{_leaf(chunk, name)}"


def copy_path(release: str, table: str, name: str) -> str:
    """Return the path of a replicated table's file; as `base_path`."""
    return f"{_checked(release)}/{_checked(table)}/all/{_checked(name)}.parquet"


def index_path(release: str, table: str, shard: int, name: str) -> str:
    """Return the path of an index shard's file; as `base_path`."""
    return (
        f"{_checked(release)}/{_checked(table)}.index/{shard}/{_checked(name)}.parquet"
    )


def check_path(path: str) -> str:
    """Return a path that came over the wire, after proving that it stays below data/.

    Raises
    ------
    InvalidRequest
        If it is absolute, climbs, hides, or does not name a Parquet file.
    """
    if len(path) > _LONGEST_PATH or not _PATH.fullmatch(path):
        raise InvalidRequest(
            f"{path[:200]!r} is not a path of a data file; use the names of "
            f"qserv.storage.layout, with at most {_LONGEST_PATH} characters"
        )
    return path


def made_by(path: str, transaction: str) -> bool:
    """Tell whether a transaction made the file, by its name."""
    return path.rpartition("/")[2].startswith(f"{transaction}-")


@dataclass(frozen=True, slots=True)
class WorkerDirectory:
    """The directory of one worker.

    Parameters
    ----------
    root
        An absolute path; all others lie below it.
    """

    root: Path

    @property
    def data(self) -> Path:
        """All that DuckDB may read."""
        return self.root / "data"

    @property
    def staging(self) -> Path:
        """A directory for each open transaction."""
        return self.root / "staging"

    @property
    def manifests(self) -> Path:
        """What is held, by release, table and version."""
        return self.root / "manifests"

    @property
    def format(self) -> Path:
        """The number of the format of what lies here."""
        return self.root / "format"

    @property
    def catalog(self) -> Path:
        """What the czar wants remembered of its metadata."""
        return self.root / "catalog"

    @property
    def spill(self) -> Path:
        """Where executors, each in a directory, put what exceeds their memory."""
        return self.root / "spill"

    @property
    def spool(self) -> Path:
        """Rows that running queries keep here, or got from elsewhere."""
        return self.root / "spool"

    @property
    def verified(self) -> Path:
        """When each file was last found right; may be lost."""
        return self.root / "verified.log"

    @property
    def scrub(self) -> Path:
        """When all files were last found right."""
        return self.root / "scrub.json"

    @property
    def quarantine(self) -> Path:
        """Bad copies, which nobody reads."""
        return self.root / "quarantine"

    @property
    def transactions(self) -> frozenset[str]:
        """Names of the transactions that have staged something."""
        if not self.staging.is_dir():
            return frozenset()
        names = (path.name for path in self.staging.iterdir())
        return frozenset(name for name in names if not name.startswith(PULL))

    @property
    def identity(self) -> Path:
        """Who this worker is."""
        return self.root / "worker.json"

    @property
    def lock(self) -> Path:
        """Held by the worker's process."""
        return self.root / "lock"

    def file(self, path: str) -> Path:
        """Return where an installed file lies; raises as `check_path`."""
        return self.data / check_path(path)

    def staged(self, transaction: str, path: str) -> Path:
        """Return where a staged file lies; raises as `check_path`."""
        return self.transaction(transaction) / check_path(path).replace("/", _SLASH)

    def incoming(self, transaction: str) -> Path:
        """Return a new name for a file of which nothing is promised yet."""
        return self.transaction(transaction) / f".{uuid4().hex}"

    def staged_paths(self, transaction: str) -> list[str]:
        """Return the paths that a transaction has staged; raises `InvalidRequest`."""
        found = self.transaction(transaction).glob(f"[!.]*{_SLASH}*")
        return sorted(file.name.replace(_SLASH, "/") for file in found)

    @property
    def pulls(self) -> list[Path]:
        """Where copies arrive, or were arriving when this worker was killed."""
        return sorted(self.staging.glob(f"{PULL}*"))

    def transaction(self, transaction: str) -> Path:
        """Return where a transaction stages; raises `InvalidRequest`."""
        return self.staging / _checked(transaction)

    def manifest(self, release: str, table: str, version: int) -> Path:
        """Return where a manifest lies; raises `InvalidRequest`."""
        return self.manifests / _checked(release) / _checked(table) / f"{version}.json"


def _leaf(chunk: int, name: str) -> str:
    # 4·4^order + pixel has 2·order + 3 or + 4 bits, for pixels below 12·4^order.
    order = (chunk.bit_length() - 3) // 2
    if chunk < 4 or order < 0 or chunk >= 16 * 4**order:
        raise InvalidRequest(f"{chunk} is not the id of a chunk")
    pixel = chunk - 4 * 4**order
    directory = pixel // DIRECTORY_STEP * DIRECTORY_STEP
    return (
        f"dataset/Norder={order}/Dir={directory}/Npix={pixel}/{_checked(name)}.parquet"
    )


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:200]!r} cannot name a release, table, transaction or file; "
            "use letters, digits, '_', '+' and '-'"
        )
    return name
