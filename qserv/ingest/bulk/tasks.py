"""Which tasks a load consists of: pure, from what is known to what is to be done."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qserv.catalog.snapshot import EVERYWHERE, Role
from qserv.catalog.tables import Table, TableKind
from qserv.ingest.bulk import keys
from qserv.ingest.bulk.gathered import SHARE_BYTES, Gathered
from qserv.ingest.bulk.keys import KeyTask
from qserv.ingest.bulk.leaves import IndexTask, LeafTask, Leaves, leaf_ranges
from qserv.ingest.bulk.reading import RUN_BYTES, ReadTask
from qserv.ingest.bulk.runs import Run, Share, shares
from qserv.ingest.bulk.scratch import Scratch
from qserv.ingest.formats import Piece
from qserv.ingest.index import LiveIndex, shard_count
from qserv.ingest.parcels import Placement
from qserv.ingest.rework.pieces import StoredPiece
from qserv.ingest.staging import Staging
from qserv.sky.chunking import ChunkTree, pixel_ranges

Integers = npt.NDArray[np.int64]


def read_tasks(whole: ReadTask) -> Iterator[ReadTask]:
    """Cut a task that reads all pieces into tasks of about a run each."""
    held: list[tuple[int, Piece | StoredPiece]] = []
    size = number = 0

    def task() -> ReadTask:
        return replace(whole, name=f"{whole.name}-{number}", pieces=tuple(held))

    for which, piece in whole.pieces:
        held.append((which, piece))
        size += piece.size
        if size >= RUN_BYTES:
            yield task()
            held, size, number = [], 0, number + 1
    if held:
        yield task()


def key_tasks(
    gathered: Gathered, live: LiveIndex | None, scratch: Scratch
) -> Iterator[KeyTask]:
    """Cut the keys of a table into ranges, one a task."""
    table = gathered.table
    if table.indexed is None or not gathered.keys:
        return
    count = shard_count(sum(run.rows for run in gathered.keys))
    for number, (low, high) in enumerate(keys.ranges(gathered.keys, count)):
        yield KeyTask(
            f"{table.name}-keys-{number}",
            scratch,
            table.column(table.indexed).name,
            tuple(gathered.keys),
            low,
            high,
            live,
        )


@dataclass(frozen=True, slots=True)
class Cutting:
    """What all leaf tasks of a load have in common.

    Parameters
    ----------
    scratch
        Where they find and leave things.
    tree
        The family's.
    placement
        Who holds what.
    staging
        How files get there.
    radii
        Table -> its overlap radius in degrees, for those that have one.
    """

    scratch: Scratch
    tree: ChunkTree
    placement: Placement
    staging: Staging
    radii: Mapping[str, float]

    def base(self, gathered: Gathered) -> Iterator[LeafTask]:
        """Return the tasks that make a table's own rows."""
        table = gathered.table
        if table.kind is TableKind.REPLICATED:
            for number, some in enumerate(_grouped(gathered.runs)):
                yield self._task(gathered, Share(0, 1, number), some, [EVERYWHERE])
            return
        ranges = pixel_ranges(self.tree.chunks)
        for share in gathered.shares(ranges):
            start, stop = np.searchsorted(ranges[:, 0], [share.low + 1, share.high])
            chunks = self.tree.chunks[start - 1 : stop].tolist()
            yield self._task(gathered, share, tuple(gathered.runs), chunks)

    def _task(
        self,
        gathered: Gathered,
        share: Share,
        runs: tuple[Run, ...],
        chunks: Sequence[int],
    ) -> LeafTask:
        table = gathered.table
        return LeafTask(
            f"{table.name}-leaves-{share.low}-{share.part}",
            self.scratch,
            table,
            Role.BASE,
            runs,
            share,
            gathered.dropped,
            self.radii.get(table.name),
            {chunk: self.placement.of(chunk) for chunk in chunks},
            self.staging,
        )

    def overlap(self, table: Table, made: Sequence[Leaves]) -> Iterator[LeafTask]:
        """Return the tasks that make the overlap which base tasks left."""
        runs = tuple(each.overlap for each in made if each.overlap is not None)
        if not runs:
            return
        hosts = np.concatenate([each.hosts for each in made])
        counts = np.concatenate([each.counts for each in made])
        at, which = np.unique(hosts, return_inverse=True)
        row = sum(run.size for run in runs) / sum(run.rows for run in runs)
        size = np.bincount(which, weights=counts * row).astype(np.float64)
        for share in shares(leaf_ranges(self.tree), at, size, SHARE_BYTES):
            chunks = self.tree.chunks[share.low : share.high].tolist()
            yield LeafTask(
                f"{table.name}-overlap-{share.low}-{share.part}",
                self.scratch,
                table,
                Role.OVERLAP,
                runs,
                share,
                None,
                None,
                {chunk: self.placement.of(chunk) for chunk in chunks},
                self.staging,
            )

    def index(self, gathered: Gathered, first: int) -> Iterator[IndexTask]:
        """Return the tasks that send a table's index.

        `first` shards of the placement belong to other tables.
        """
        shards = [shard for shard in gathered.shards if shard.rows]
        places = self.placement.shards[first : first + len(shards)]
        for shard, (number, workers) in zip(shards, places, strict=True):
            name = f"{gathered.table.name}-index-{number}"
            yield IndexTask(name, gathered.table, shard, number, workers, self.staging)


def _grouped(runs: Sequence[Run]) -> Iterator[tuple[Run, ...]]:
    """Group the runs of a replicated table, each group for a file."""
    held: list[Run] = []
    for run in runs:
        if held and sum(each.size for each in held) + run.size > SHARE_BYTES:
            yield tuple(held)
            held = []
        held.append(run)
    if held:
        yield tuple(held)
