"""Which workers hold which chunks: rendezvous hashing, evenly bounded.

Every worker has a score for every chunk that depends on nothing else, so that a chunk's
order of preference among the workers that remain does not change when another leaves.
No worker is given more than its even share.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qserv.errors import WorkerUnavailable


def place(
    chunks: Sequence[int] | npt.NDArray[np.int64],
    workers: Sequence[str],
    replicas: int,
) -> dict[int, tuple[str, ...]]:
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
    names = sorted(workers)
    if len(names) < max(replicas, 1):
        raise WorkerUnavailable(
            f"{replicas} replicas need as many workers, but {len(names)} are alive "
            f"({', '.join(names) or 'none'}); start more workers or ask for fewer "
            "replicas"
        )
    ids = np.asarray(chunks, np.int64)
    preferences = np.argsort(_scores(ids, names), axis=1, kind="stable")
    share = -(-ids.size * replicas // len(names))
    load = [0] * len(names)
    placed = {}
    for chunk, preference in zip(ids.tolist(), preferences.tolist(), strict=True):
        # Sorting by "full" keeps the order of preference on either side.
        chosen = sorted(preference, key=lambda w: load[w] >= share)[:replicas]
        for worker in chosen:
            load[worker] += 1
        placed[chunk] = tuple(names[worker] for worker in chosen)
    return placed


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
