"""Which workers hold which chunks: rendezvous hashing, evenly bounded.

Every worker has a score for every chunk that depends on nothing else, so that a chunk's
order of preference among the workers that remain does not change when another leaves.
Workers are given even shares. What is placed already moves only where it must: its
worker goes, or another has notably less than its share.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from qserv.errors import WorkerUnavailable

Placed = dict[int, tuple[str, ...]]

_SLACK: Final = 20
"""A worker that lacks less than this part of its share is left as it is."""


def place(
    chunks: Sequence[int] | npt.NDArray[np.int64],
    workers: Sequence[str],
    replicas: int,
) -> Placed:
    """Choose the workers of each chunk.

    Parameters
    ----------
    chunks
        Chunk ids, or numbers of index shards.
    workers
        Ids of the live workers; their order does not matter.
    replicas
        How many copies of each chunk, each on a worker of its own.

    Returns
    -------
    dict
        Chunk -> worker ids, preferred first.

    Raises
    ------
    WorkerUnavailable
        If there are fewer workers than replicas.
    """
    if len(workers) < max(replicas, 1):
        raise WorkerUnavailable(
            f"{replicas} replicas need as many workers, but {len(workers)} are alive "
            f"({', '.join(sorted(workers)) or 'none'}); start more workers or ask for "
            "fewer replicas"
        )
    nowhere: Placed = dict.fromkeys(np.asarray(chunks, np.int64).tolist(), ())
    return adjust(nowhere, workers, replicas)


def adjust(
    current: Mapping[int, tuple[str, ...]],
    workers: Collection[str],
    replicas: int,
    *,
    able: Collection[str] | None = None,
) -> Placed:
    """Make a placement fit its workers again, moving as little as can be.

    Parameters
    ----------
    current
        Chunk -> the workers that hold it now, or shall.
    workers
        Who may hold chunks; what others hold moves.
    replicas
        How many copies of each chunk; as many as there are workers, if these are
        fewer.
    able
        Of the workers those that can take more now; None: all.

    Returns
    -------
    dict
        Chunk -> worker ids, preferred first; again `current` where that fits.
    """
    if not workers:
        return dict(current)
    fit = _Fit(current, sorted(workers), replicas)
    fit.thin()
    open_ = [n for n, name in enumerate(fit.names) if able is None or name in able]
    fit.fill(open_)
    fit.level(open_)
    return fit.placed()


class _Fit:
    """A placement that is being changed; workers are numbers, in order of name."""

    def __init__(
        self,
        current: Mapping[int, tuple[str, ...]],
        names: Sequence[str],
        replicas: int,
    ) -> None:
        self.names = names
        self._copies = min(replicas, len(names))
        self._chunks = list(current)
        scores = _scores(np.array(self._chunks, np.int64), names)
        self._preferences = np.argsort(scores, axis=1, kind="stable")
        numbers = {name: number for number, name in enumerate(names)}
        self._holders = [
            {numbers[name] for name in held if name in numbers}
            for held in current.values()
        ]
        self._load = Counter(holder for held in self._holders for holder in held)
        copies = len(self._chunks) * self._copies
        self._least, self._most = copies // len(names), -(-copies // len(names))

    def thin(self) -> None:
        """Drop what is too much, where most lies."""
        for held in self._holders:
            while len(held) > self._copies:
                self._drop(held, max(held, key=lambda n: (self._load[n], n)))

    def fill(self, able: Sequence[int]) -> None:
        """Add what is missing, where it is preferred and no share is exceeded."""
        takes = set(able)
        for held, preference in zip(
            self._holders, self._preferences.tolist(), strict=True
        ):
            while len(held) < self._copies:
                may = [n for n in preference if n in takes and n not in held]
                if not may:
                    break
                # min() keeps the preferred one of equals.
                self._add(held, min(may, key=lambda n: self._load[n] >= self._most))

    def level(self, able: Sequence[int]) -> None:
        """Move to those who have less than their share what prefers them most."""
        poor = self._least - self._least // _SLACK
        for number in able:
            if self._load[number] < poor:
                # Those who have more than all others give first.
                self._raise(number, self._most)
                self._raise(number, self._least)

    def _raise(self, number: int, enough: int) -> None:
        ranks = np.argmax(self._preferences == number, axis=1)
        for position in np.argsort(ranks, kind="stable").tolist():
            if self._load[number] >= self._least:
                return
            held = self._holders[position]
            rich = [n for n in held if self._load[n] > enough]
            if rich and number not in held:
                self._drop(held, max(rich, key=lambda n: (self._load[n], n)))
                self._add(held, number)

    def _add(self, held: set[int], number: int) -> None:
        held.add(number)
        self._load[number] += 1

    def _drop(self, held: set[int], number: int) -> None:
        held.remove(number)
        self._load[number] -= 1

    def placed(self) -> Placed:
        rows = zip(self._chunks, self._holders, self._preferences.tolist(), strict=True)
        return {
            chunk: tuple(self.names[n] for n in preference if n in held)
            for chunk, held, preference in rows
        }


def preferred(chunk: int, workers: Collection[str]) -> tuple[str, ...]:
    """Return workers in a chunk's order of preference."""
    names = sorted(workers)
    order = np.argsort(_scores(np.array([chunk], np.int64), names), axis=1)
    return tuple(names[n] for n in order[0].tolist())


def _scores(
    chunks: npt.NDArray[np.int64], workers: Sequence[str]
) -> npt.NDArray[np.uint64]:
    """Return one number for each chunk (row) and worker (column); lowest wins."""
    seeds = [
        int.from_bytes(hashlib.sha256(worker.encode()).digest()[:8], "little")
        for worker in workers
    ]
    return _mix(_mix(chunks.astype(np.uint64))[:, None] ^ np.array(seeds, np.uint64))


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Finish as splitmix64 does: every bit of the input moves every bit out."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
