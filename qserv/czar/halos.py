"""Which chunks around a task's a halo source may need, and who has them: pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from qserv.catalog.snapshot import Snapshot, TableVersion
from qserv.errors import ChunkMissing
from qserv.plan.plan import Extent, Fragment
from qserv.sky.chunking import ChunkTree, pixel_ranges
from qserv.sky.ranges import RangeSet
from qserv.sky.regions import dilate
from qserv.wire.v1 import worker_pb2

Chunks = npt.NDArray[np.int64]

_NOBODY: Final = -1


@dataclass(frozen=True, slots=True)
class Around:
    """A halo source of a fragment.

    Parameters
    ----------
    source
        Its number in the fragment.
    reach
        Degrees.
    version
        The table that it reads.
    tree, replicas
        Of that table's family, which need not be the fragment's.
    """

    source: int
    reach: float
    version: TableVersion
    tree: ChunkTree
    replicas: Mapping[int, tuple[str, ...]]

    def chunks(self, inside: Iterable[int]) -> Chunks:
        """Return the chunks with own rows that have a point within reach of others."""
        area = RangeSet.of(pixel_ranges(np.array([*inside], np.int64)))
        near = self.tree.overlapping(dilate(area, self.reach))
        return near[np.isin(near, self.version.statistics.chunks)]


def around(sent: Fragment, snapshot: Snapshot) -> tuple[Around, ...]:
    """Return the halo sources of a fragment, in order."""
    found = []
    for number, source in enumerate(sent.sources):
        if source.extent is Extent.HALO:
            version = snapshot.table(source.release, source.table)
            family = snapshot.family(source.release)
            found.append(
                Around(number, source.reach, version, family.tree, family.replicas)
            )
    return tuple(found)


def halo(
    source: Around, chunks: Iterable[int], worker: str, endpoints: Mapping[str, str]
) -> worker_pb2.Halo:
    """Return what a worker needs to know to read a halo source.

    Parameters
    ----------
    source
        The halo source.
    chunks
        Of the task.
    worker
        Who runs it: it is its own first choice.
    endpoints
        Live worker -> its ``host:port``.

    Raises
    ------
    ChunkMissing
        If no live worker holds a chunk.
    """
    needed = source.chunks(chunks).tolist()
    holders = [_holders(source, chunk, worker, endpoints) for chunk in needed]
    peers = list(dict.fromkeys(name for names in holders for name in names))
    place = {name: index for index, name in enumerate(peers)}
    choices = max(map(len, holders), default=0)
    return worker_pb2.Halo(
        source=source.source,
        chunks=needed,
        peers=[worker_pb2.Peer(worker_id=p, endpoint=endpoints[p]) for p in peers],
        holders=[
            place[names[choice]] if choice < len(names) else _NOBODY
            for names in holders
            for choice in range(choices)
        ],
        choices=choices,
    )


def _holders(
    source: Around, chunk: int, worker: str, endpoints: Mapping[str, str]
) -> Sequence[str]:
    alive = [name for name in source.replicas.get(chunk, ()) if name in endpoints]
    if not alive:
        name = f"{source.version.release}.{source.version.table.name}"
        raise ChunkMissing(
            f"no live worker holds chunk {chunk} of {name}, which lies within "
            f"{source.reach:g} degrees of the chunks to read; start the workers that do"
        )
    return sorted(alive, key=worker.__ne__)
