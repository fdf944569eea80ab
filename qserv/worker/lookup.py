"""Director keys into homes, from the shards of the index that a worker holds.

A shard's files are sorted by key. Of each we keep the first key of every row group, so
that a key costs the decoding of one row group, and of the groups asked for last their
rows. Fences are read from the rows: nothing trusts a footer.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from qserv.catalog.snapshot import ManifestEntry
from qserv.catalog.tables import HEALPIX
from qserv.errors import ChunkMissing, CorruptData, InvalidRequest, TaskFailed
from qserv.sky.healpix import ORDER
from qserv.storage.inventory import Inventory
from qserv.storage.manifest import Holding
from qserv.storage.shard import INDEX_KEY
from qserv.storage.verified import State

__all__ = ["NOWHERE", "KeyIndex"]

NOWHERE: Final = -1
"""The home of a key that the index does not have."""


_GROUPS_KEPT: Final = 256

Keys = npt.NDArray[Any]
Homes = npt.NDArray[np.int64]


class KeyIndex:
    """The index shards of one worker.

    Parameters
    ----------
    data
        The directory that paths of entries begin below.
    inventory
        Verifies files before their first use.
    """

    def __init__(self, *, data: Path, inventory: Inventory) -> None:
        self._data = data
        self._inventory = inventory
        self._files: dict[str, _File] = {}
        self._lock = Lock()

    def homes(
        self, holding: Holding, shards: Iterable[int], keys: Sequence[int | str]
    ) -> Homes:
        """Look keys up; blocks where rows are not in memory: call it in a thread.

        Parameters
        ----------
        holding
            Of the director table, at the version that is asked for.
        shards
            Where to look.
        keys
            Whole numbers or texts.

        Returns
        -------
        ndarray
            ``_healpix_29`` of each key, int64; `NOWHERE` where there is none.

        Raises
        ------
        ChunkMissing
            If a shard is not held.
        CorruptData
            If a file does not match its checksum, or is not sorted.
        InvalidRequest
            If the index has keys of the other type.
        """
        wanted = np.array(keys, dtype=object if _texts(keys) else np.int64)
        homes = np.full(len(wanted), NOWHERE, dtype=np.int64)
        with self._lock, self._files_of(holding, shards) as files:
            for file in files:
                found = file.homes(wanted)
                homes = np.where(found == NOWHERE, homes, found)
        return homes

    def between(
        self, holding: Holding, shards: Iterable[int], low: int, high: int, order: int
    ) -> Homes:
        """Find where the keys of a range live; blocks, so call it in a thread.

        Parameters
        ----------
        holding, shards
            As for `homes`.
        low, high
            The least and the greatest key, both included.
        order
            Of the pixels that tell homes apart, at most 29.

        Returns
        -------
        ndarray
            For each pixel of that order in which a key of the range has its home, the
            first ``_healpix_29`` of the pixel; sorted, int64.

        Raises
        ------
        InvalidRequest
            If the order is none, or the keys are texts.
        ClusterError
            As `homes`.
        """
        if not 0 <= order <= ORDER:
            raise InvalidRequest(f"pixels have orders from 0 to {ORDER}, not {order}")
        shift = 2 * (ORDER - order)
        found = [np.zeros(0, dtype=np.int64)]
        with self._lock, self._files_of(holding, shards) as files:
            for file in files:
                found += file.between(low, high, shift)
        return np.unique(np.concatenate(found))

    def knows(
        self, holding: Holding, shards: Iterable[int], keys: Sequence[int | str]
    ) -> bool:
        """Whether `homes` would answer from memory alone, without blocking."""
        wanted = np.array(keys, dtype=object if _texts(keys) else np.int64)
        if not self._lock.acquire(blocking=False):
            return False
        try:
            pinned = self._inventory.pin(_entries(holding, shards))
            if pinned is None:
                return False
            files = [(self._files.get(entry.path), state) for entry, state in pinned]
            return all(
                file is not None and file.state == state and file.knows(wanted)
                for file, state in files
            )
        finally:
            self._lock.release()

    @contextmanager
    def _files_of(
        self, holding: Holding, shards: Iterable[int]
    ) -> Iterator[list["_File"]]:
        """Give verified files; whatever is read of them counts only if they stay so."""
        entries = _entries(holding, shards)
        pinned = self._inventory.ready(entries)
        try:
            yield [self._file(entry, state) for entry, state in pinned]
        except (OSError, pa.ArrowException) as error:
            self._inventory.verify(entries, from_disk=True)
            raise TaskFailed(
                f"an index file of {holding.manifest.release}."
                f"{holding.manifest.table} cannot be read: {error}"
            ) from error
        self._inventory.check(pinned)

    def _file(self, entry: ManifestEntry, state: State) -> "_File":
        known = self._files.get(entry.path)
        if known is None or known.state != state:
            # Another file, of the same content or not, has come in its place.
            known = _File(self._data / entry.path, entry.path, state)
            self._files[entry.path] = known
        return known


class _File:
    def __init__(self, place: Path, path: str, state: State) -> None:
        self.state = state
        self._path = path
        # Not mapped: a disk that cannot read would kill the process.
        self._parquet = pq.ParquetFile(place)
        self._kept: OrderedDict[int, tuple[Keys, Homes]] = OrderedDict()
        groups = range(self._parquet.num_row_groups)
        firsts = [
            self._parquet.read_row_group(g, [INDEX_KEY])[INDEX_KEY][0] for g in groups
        ]
        self._is_text = pa.types.is_string(
            self._parquet.schema_arrow.field(INDEX_KEY).type
        )
        self._fences = self._array([first.as_py() for first in firsts])
        if np.any(self._fences[1:] < self._fences[:-1]):
            raise CorruptData(f"index file {path} is not sorted; load the table again")

    def knows(self, keys: Keys) -> bool:
        if _texts(keys) != self._is_text:
            return False
        groups = np.searchsorted(self._fences, keys, side="right") - 1
        return all(group < 0 or group in self._kept for group in groups.tolist())

    def homes(self, keys: Keys) -> Homes:
        if _texts(keys) != self._is_text and keys.size:
            raise InvalidRequest(
                f"index file {self._path} has {'texts' if self._is_text else 'numbers'}"
                " as keys, and was asked for the other"
            )
        groups = np.searchsorted(self._fences, keys, side="right") - 1
        homes = np.full(len(keys), NOWHERE, dtype=np.int64)
        for group in np.unique(groups[groups >= 0]):
            here = np.flatnonzero(groups == group)
            homes[here] = _search(*self._group(int(group)), keys[here])
        return homes

    def between(self, low: int, high: int, shift: int) -> Iterator[Homes]:
        if self._is_text:
            raise InvalidRequest(
                f"index file {self._path} has texts as keys, which have no ranges"
            )
        first, last = np.searchsorted(self._fences, (low, high), side="right") - 1
        for group in range(max(0, int(first)), int(last) + 1):
            keys, homes = self._read(group)
            start = np.searchsorted(keys, low, side="left")
            end = np.searchsorted(keys, high, side="right")
            yield np.unique(homes[start:end] >> shift << shift)

    def _group(self, group: int) -> tuple[Keys, Homes]:
        if group not in self._kept:
            self._kept[group] = self._read(group)
        self._kept.move_to_end(group)
        if len(self._kept) > _GROUPS_KEPT:
            self._kept.popitem(last=False)
        return self._kept[group]

    def _read(self, group: int) -> tuple[Keys, Homes]:
        rows = self._parquet.read_row_group(group, [INDEX_KEY, HEALPIX])
        keys = rows[INDEX_KEY]
        values = keys.to_pylist() if self._is_text else keys.to_numpy()
        return self._array(values), rows[HEALPIX].to_numpy()

    def _array(self, keys: Sequence[Any]) -> Keys:
        return np.array(keys, dtype=object if self._is_text else np.int64)


def _search(keys: Keys, homes: Homes, wanted: Keys) -> Homes:
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found = np.where(keys[places] == wanted, homes[places], NOWHERE)
    return found.astype(np.int64)


def _entries(holding: Holding, shards: Iterable[int]) -> list[ManifestEntry]:
    asked = list(shards)
    if missing := sorted(set(asked) - holding.index.keys()):
        manifest = holding.manifest
        raise ChunkMissing(
            f"this worker does not hold index shards {', '.join(map(str, missing))} "
            f"of {manifest.release}.{manifest.table} at version {manifest.version}"
        )
    return [entry for shard in asked for entry in holding.index[shard]]


def _texts(keys: Sequence[int | str] | Keys) -> bool:
    return len(keys) > 0 and isinstance(keys[0], str)
