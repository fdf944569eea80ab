"""From a fragment to the chunks that it runs on."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from qserv.catalog.snapshot import EVERYWHERE, ChunkStatistics, Snapshot
from qserv.plan.plan import (
    AreaRestrictor,
    EitherRestrictor,
    Extent,
    Fragment,
    KeyedRestrictor,
    Restrictor,
    Route,
)
from qserv.sky.chunking import ChunkTree
from qserv.sky.healpix import ORDER
from qserv.sky.ranges import RangeSet
from qserv.sky.regions import dilate

Homes = Mapping[KeyedRestrictor, npt.NDArray[np.int64]]
Mask = npt.NDArray[np.bool_]


def route(sent: Fragment, snapshot: Snapshot, homes: Homes) -> Route:
    """Choose the chunks that can hold a part of the rows of a fragment.

    Parameters
    ----------
    sent
        The fragment.
    snapshot
        The one that it was planned against.
    homes
        The order-29 pixels of the keys that the director index knows, for the
        restrictors in `qserv.plan.plan.keyed`; one that is left out limits nothing.

    Returns
    -------
    Route
        The chunks, sorted by sky range.
    """
    if sent.family is None:
        return _without_tree(sent)
    tree = snapshot.families[sent.family].tree
    kept = _allowed(tree, sent.restrictors, homes) & (sent.limit != 0)
    spread = [_spread(tree, each) for each in _statistics(snapshot, sent)]
    for group in sent.needed:
        kept &= np.any([spread[source][0] > 0 for source in group], axis=0)
    rows = sum(int(each[0][kept].sum()) for each in spread)
    work = np.zeros(len(tree), dtype=np.int64)
    for each in spread:
        work += each[1]
    return Route(tree.chunks[kept], len(tree), rows, int(work[kept].sum()), work[kept])


@lru_cache(maxsize=256)
def _spread(tree: ChunkTree, statistics: ChunkStatistics) -> npt.NDArray[np.int64]:
    """Return rows and bytes of each leaf of the tree, shape (2, leaves).

    A replicated table has none: it is no part of any leaf.
    """
    spread = np.zeros((2, len(tree)), dtype=np.int64)
    if statistics.chunks.size and statistics.chunks[0] != EVERYWHERE:
        places = tree.positions(statistics.chunks)
        spread[:, places] = statistics.rows, statistics.size
    return spread


def _without_tree(sent: Fragment) -> Route:
    numbers = range(sent.buckets) if sent.buckets else [EVERYWHERE]
    chunks = np.array([] if sent.limit == 0 else numbers, dtype=np.int64)
    return Route(chunks, len(chunks), 0, 0, np.zeros(len(chunks), dtype=np.int64))


def _allowed(
    tree: ChunkTree, restrictors: tuple[Restrictor, ...], homes: Homes
) -> Mask:
    """Return which leaves all of the restrictors allow."""
    kept = np.ones(len(tree), dtype=np.bool_)
    for restrictor in restrictors:
        match restrictor:
            case EitherRestrictor():
                kept &= np.any(
                    [_allowed(tree, each, homes) for each in restrictor.alternatives],
                    axis=0,
                )
            case AreaRestrictor():
                area = restrictor.ranges
                if restrictor.reach and not area.is_empty:
                    area = dilate(area, restrictor.reach)
                kept &= _at(tree, tree.overlapping(area))
            case _:
                if (known := homes.get(restrictor)) is not None:
                    kept &= _at(tree, _around(tree, known, restrictor.reach))
    return kept


def _around(
    tree: ChunkTree, homes: npt.NDArray[np.int64], reach: float
) -> npt.NDArray[np.int64]:
    """Return the chunks that hold these homes, or come within reach of one."""
    if not reach:
        return tree.locate(homes)
    return tree.overlapping(dilate(RangeSet.from_pixels(ORDER, homes), reach))


def _at(tree: ChunkTree, chunks: npt.NDArray[np.int64]) -> Mask:
    allowed = np.zeros(len(tree), dtype=np.bool_)
    allowed[tree.positions(chunks)] = True
    return allowed


def _statistics(snapshot: Snapshot, sent: Fragment) -> list[ChunkStatistics]:
    """Return each source's statistics; none for the halo, which is of other chunks."""
    nothing = np.zeros(0, dtype=np.int64)
    return [
        ChunkStatistics(nothing, nothing, nothing)
        if source.extent is Extent.HALO
        else snapshot.table(source.release, source.table).statistics
        for source in sent.sources
    ]
