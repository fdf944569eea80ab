"""Key tasks: runs of keys become the shards of an index; duplicates are found.

A shard holds all keys of a range, sorted, so that two rows with one key meet in one
task. Of those the first in the order of the input files is kept. Children find the
homes of their directors in the same shards.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qserv.errors import BadContribution
from qserv.ingest.bulk import runs
from qserv.ingest.bulk.runs import INPUT, NUMBER, ORDER, map_batch, write_batch
from qserv.ingest.bulk.scratch import Scratch
from qserv.ingest.index import LiveIndex
from qserv.ingest.ordering import by_key
from qserv.ingest.rejects import Reject

KEY: Final = "\0key"
"""The keys of a run or shard, which it is sorted by."""

_SAMPLES: Final = 64
"""Keys of each run that are looked at when ranges are chosen."""
_OPEN: Final = 4096

Key = int | str
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class KeyRun:
    """Keys, sorted; ties in the order of the input files."""

    path: Path
    rows: int


@dataclass(frozen=True, slots=True)
class KeyTask:
    """One range of the keys of a table.

    Parameters
    ----------
    name
        Unique within the load.
    scratch
        Where the shard goes.
    column
        The column of the keys.
    runs
        All key runs of the table, in the order of the input files.
    low, high
        Keys in [low, high); None: no end.
    live
        Knows the keys that are live; None if none are.
    """

    name: str
    scratch: Scratch
    column: str
    runs: tuple[KeyRun, ...]
    low: Key | None
    high: Key | None
    live: LiveIndex | None


@dataclass(frozen=True, slots=True)
class KeyShard:
    """What a key task made: keys, each once, with their homes.

    Parameters
    ----------
    path
        The file.
    rows
        How many keys.
    low, high
        The first and the last; None of a shard without keys.
    rejects
        Rows whose key was there before.
    """

    path: Path
    rows: int
    low: Key | None
    high: Key | None
    rejects: tuple[Reject, ...]


def write_run(scratch: Scratch, name: str, rows: pa.Table) -> KeyRun:
    """Write a run of keys; its columns are `KEY`, `ORDER`, `INPUT`, `NUMBER`."""
    return KeyRun(write_batch(scratch, name, rows), rows.num_rows)


def ranges(
    key_runs: Sequence[KeyRun], count: int
) -> list[tuple[Key | None, Key | None]]:
    """Return `count` ranges [low, high) of keys that hold about equally many.

    Fewer where there are not so many keys.
    """
    samples: list[Key] = []
    for run in key_runs:
        keys = map_batch(run.path).column(KEY)
        at = np.linspace(0, len(keys) - 1, min(_SAMPLES, len(keys))).astype(np.int64)
        samples += keys.take(pa.array(at)).to_pylist()
    samples.sort()
    wanted = np.linspace(0, len(samples), count + 1)[1:-1].astype(int).tolist()
    cuts = sorted({samples[at] for at in wanted})
    ends: list[Key | None] = [None, *cuts, None]
    return list(pairwise(ends))


def merge(task: KeyTask) -> KeyShard:
    """Make a shard; what was done before is not done again."""
    return task.scratch.once(task.name, lambda: _merge(task))


def _merge(task: KeyTask) -> KeyShard:
    rows = pa.Table.from_batches(
        [_slice(map_batch(run.path), task.low, task.high) for run in task.runs]
    ).combine_chunks()
    # Runs, and equal keys in a run, are in the order of the input files: they stay so.
    order = by_key(rows.column(KEY).combine_chunks())
    rows = rows.take(pa.array(order)).combine_chunks()
    again, live = _repeated(rows), _live(task, rows)
    rejects = _rejects(task, rows, again, live)
    rows = rows.filter(pa.array(~(again | live))).select([KEY, ORDER])
    keys = rows.column(KEY)
    return KeyShard(
        write_batch(task.scratch, task.name, rows),
        rows.num_rows,
        keys[0].as_py() if rows.num_rows else None,
        keys[-1].as_py() if rows.num_rows else None,
        rejects,
    )


def _slice(batch: pa.RecordBatch, low: Key | None, high: Key | None) -> pa.RecordBatch:
    keys = batch.column(KEY)
    start = 0 if low is None else _position(keys, low)
    stop = len(keys) if high is None else _position(keys, high)
    return batch.slice(start, stop - start)


def _position(keys: pa.Array, key: Key) -> int:
    return bisect_left(range(len(keys)), key, key=lambda at: keys[at].as_py())


def _repeated(rows: pa.Table) -> npt.NDArray[np.bool_]:
    again = np.zeros(rows.num_rows, np.bool_)
    if rows.num_rows > 1:
        keys = rows.column(KEY)
        again[1:] = pc.equal(keys.slice(1), keys.slice(0, len(keys) - 1)).to_numpy()
    return again


def _live(task: KeyTask, rows: pa.Table) -> npt.NDArray[np.bool_]:
    if task.live is None or not rows.num_rows:
        return np.zeros(rows.num_rows, np.bool_)
    flags: npt.NDArray[np.bool_] = (
        task.live.homes(rows.column(KEY).combine_chunks()) >= 0
    )
    return flags


def _rejects(
    task: KeyTask,
    rows: pa.Table,
    again: npt.NDArray[np.bool_],
    live: npt.NDArray[np.bool_],
) -> tuple[Reject, ...]:
    bad = np.flatnonzero(again | live)
    found = rows.take(pa.array(bad)).to_pylist()
    return tuple(
        Reject(
            row[INPUT],
            row[NUMBER],
            task.column,
            str(row[KEY]),
            f"{row[KEY]!r} is in the release already"
            if is_live
            else f"{row[KEY]!r} is a duplicate key",
        )
        for row, is_live in zip(found, live[bad].tolist(), strict=True)
    )


@dataclass(frozen=True, slots=True)
class Known:
    """The homes of the keys in shards.

    Parameters
    ----------
    shards
        Of one table.
    what
        The table and its key, for messages.
    """

    shards: tuple[KeyShard, ...]
    what: str

    def homes(self, keys: pa.Array) -> Integers:
        """Return the home of each key, -1 where it is in no shard."""
        homes = np.full(len(keys), -1, dtype=np.int64)
        self._check_type(keys)
        rows = np.flatnonzero(keys.is_valid().to_numpy(zero_copy_only=False))
        keys = keys.drop_null()
        # In ascending order the look-ups go through memory once.
        order = by_key(keys)
        homes[rows[order]] = self._sorted_homes(keys.take(pa.array(order)))
        return homes

    def _check_type(self, keys: pa.Array) -> None:
        for shard in self.shards:
            kind = _opened(shard.path).column(KEY).type
            if shard.rows and kind != keys.type:
                raise BadContribution(
                    f"keys are {keys.type}, but {self.what} is {kind}"
                )

    def _sorted_homes(self, keys: pa.Array) -> Integers:
        homes = np.full(len(keys), -1, dtype=np.int64)
        for shard in self.shards:
            if shard.rows:
                start, stop = _between(keys, shard)
                found = _find(_opened(shard.path), keys.slice(start, stop - start))
                homes[start:stop] = found
        return homes


@lru_cache(_OPEN)
def _opened(path: Path) -> pa.RecordBatch:
    return map_batch(path)


def _between(keys: pa.Array, shard: KeyShard) -> tuple[int, int]:
    """Return which of sorted keys lie in the range of a shard."""
    assert shard.low is not None
    assert shard.high is not None
    at = range(len(keys))
    start = bisect_left(at, shard.low, key=lambda i: keys[i].as_py())
    return start, bisect_right(at, shard.high, key=lambda i: keys[i].as_py())


def _find(known: pa.RecordBatch, keys: pa.Array) -> Integers:
    """Return the home of each of sorted keys, -1 where it is not known."""
    if pa.types.is_string(keys.type):
        found = pc.index_in(keys, value_set=known.column(KEY))
        at = found.fill_null(-1).to_numpy()
        return np.where(at < 0, -1, runs.numbers(known, ORDER)[at])
    its, wanted = known.column(KEY).to_numpy(), keys.to_numpy()
    at = np.minimum(np.searchsorted(its, wanted), len(its) - 1)
    return np.where(its[at] == wanted, runs.numbers(known, ORDER)[at], -1)


def shared(shard: KeyShard, live: LiveIndex) -> list[Key]:
    """Return some keys of a shard that are live, if any are."""
    if not shard.rows:
        return []
    own = map_batch(shard.path).column(KEY)
    both = np.flatnonzero(live.homes(own) >= 0)[:_SAMPLES]
    found: list[Key] = own.take(pa.array(both)).to_pylist()
    return found


def dropped(shards: Iterable[KeyShard]) -> Integers:
    """Return which rows were left out as duplicates, as `codes` gives them, sorted."""
    rejects = [reject for shard in shards for reject in shard.rejects]
    return np.sort(
        codes(
            np.array([r.input for r in rejects], np.int64),
            np.array([r.row for r in rejects], np.int64),
        )
    )


def codes(inputs: npt.NDArray[np.integer], numbers: Integers) -> Integers:
    """Return one number for each (input file, row)."""
    return inputs.astype(np.int64) << 40 | numbers
