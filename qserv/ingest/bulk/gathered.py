"""What the read and key tasks of one table made, added up."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qserv.catalog.snapshot import EVERYWHERE
from qserv.catalog.tables import Table, TableKind
from qserv.ingest.bulk import keys, runs
from qserv.ingest.bulk.counting import Counted, added, coarse, few
from qserv.ingest.bulk.keys import KeyRun, KeyShard
from qserv.ingest.bulk.reading import Read
from qserv.ingest.bulk.runs import Run, Share
from qserv.ingest.bulk.scratch import Scratch
from qserv.sky.chunking import ChunkTree, Load
from qserv.sky.healpix import ORDER

Integers = npt.NDArray[np.int64]

_PIXELS = 2**21
"""Pixels after which those with few rows are counted together."""

SHARE_BYTES = 96 * 2**20
"""Bytes in memory of the rows that one task cuts into files."""

_SYSTEM_BYTES = 8.0
"""Bytes that the system columns add to a stored row, about: they compress well."""


@dataclass(slots=True)
class Gathered:
    """The rows of one table, on the disk.

    Parameters
    ----------
    table
        The table.
    order
        HEALPix order at which its rows were counted.
    runs, keys
        The rows sorted by home, and their keys.
    pixels, counts
        Where rows are; a pixel may stand for the coarser one around it.
    rows, nulled, wrapped
        By input file.
    packed
        Bytes of a stored row by those in memory.
    shards
        The keys, each once.
    dropped
        A file with the rows whose key was there before; None if there are none.
    used, gone
        As in `Read`.
    """

    table: Table
    order: int
    runs: list[Run] = field(default_factory=list)
    keys: list[KeyRun] = field(default_factory=list)
    pixels: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    counts: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    rows: Counter[int] = field(default_factory=Counter)
    nulled: Counter[int] = field(default_factory=Counter)
    wrapped: Counter[int] = field(default_factory=Counter)
    packed: float = 1.0
    shards: tuple[KeyShard, ...] = ()
    dropped: Path | None = None
    used: list[Path] = field(default_factory=list)
    gone: list[KeyRun] = field(default_factory=list)

    @staticmethod
    def of(
        table: Table, order: int, leaf_rows: int, made: Sequence[Read]
    ) -> "Gathered":
        """Add up what read tasks made, in the order of the input files.

        Rows are told apart where a leaf must be split that may hold `leaf_rows`.
        """
        total = Gathered(table, order)
        for each in made:
            total.runs += each.runs
            total.keys += each.keys
            total.used += each.used
            total.gone += each.gone
            total.rows.update(each.rows)
            total.nulled.update(each.nulled)
            total.wrapped.update(each.wrapped)
        rows = total.total * SHARE_BYTES / max(total.size, 1)
        total.pixels, total.counts = _counted(made, few(leaf_rows, rows))
        ratios = [each.packed for each in made if each.packed is not None]
        total.packed = max(ratios, default=1.0)
        return total

    def keep_shards(self, shards: Sequence[KeyShard], scratch: Scratch) -> None:
        """Take in the shards of the keys, and which rows are dropped."""
        self.shards = tuple(shards)
        if (rows := keys.dropped(shards)).size:
            self.dropped = scratch.save(f"{self.table.name}-dropped.npy", rows)
        for shard in shards:
            self.rows.subtract(Counter(reject.input for reject in shard.rejects))

    @property
    def total(self) -> int:
        """All rows, those that are dropped included."""
        return sum(run.rows for run in self.runs)

    @property
    def size(self) -> int:
        """Bytes of all rows in memory."""
        return sum(run.size for run in self.runs)

    @property
    def stored(self) -> float:
        """Bytes that the rows will take in files, about."""
        return self.size * self.packed

    @property
    def load(self) -> Load:
        """What the table says about where the tree is split."""
        return Load(
            homes=self.pixels << 2 * (ORDER - self.order),
            row_bytes=self.size / max(self.total, 1) + _SYSTEM_BYTES,
            director=self.table.kind is TableKind.DIRECTOR,
            rows=self.counts,
        )

    def spread(self, tree: ChunkTree) -> Iterator[tuple[int, float]]:
        """Give the bytes that the rows will take in files of each chunk, about."""
        if not self.table.partitioned:
            yield EVERYWHERE, self.stored
            return
        chunks, at = np.unique(tree.locate(self.load.homes), return_inverse=True)
        rows = np.bincount(at, weights=self.counts, minlength=len(chunks))
        sizes = rows * (self.stored / max(self.total, 1))
        yield from zip(chunks.tolist(), sizes.tolist(), strict=True)

    def shares(self, ranges: Integers) -> Sequence[Share]:
        """Return how tasks share the leaves, whose ranges of homes are given."""
        load = self.load
        size = self.counts.astype(np.float64) * (self.size / max(self.total, 1))
        return runs.shares(ranges, load.homes, size, SHARE_BYTES)


def _counted(made: Sequence[Read], most: int) -> Counted:
    nothing = np.zeros(0, np.int64)
    held: list[Counted] = [(nothing, nothing)]
    for path in (each.counted for each in made if each.counted is not None):
        pixels, rows = np.load(path)
        held.append((pixels, rows))
        if sum(len(pixels) for pixels, _ in held) > _PIXELS:
            held = [coarse(added(*held), most)]
    return added(*held)
