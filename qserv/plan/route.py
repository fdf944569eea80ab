"""From a plan to the chunks that it runs on."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from qserv.catalog.snapshot import EVERYWHERE, ChunkStatistics, Snapshot
from qserv.plan.plan import AreaRestrictor, Fragment, KeyRestrictor, Plan, Route
from qserv.sky.chunking import ChunkTree
from qserv.sky.regions import dilate

Homes = Mapping[KeyRestrictor, npt.NDArray[np.int64]]


def route(plan: Plan, snapshot: Snapshot, homes: Homes) -> Route:
    """Choose the chunks that can hold a part of the answer.

    Parameters
    ----------
    plan
        The plan.
    snapshot
        The one that it was made against.
    homes
        The order-29 pixels of the keys that the director index knows, for each
        `KeyRestrictor` of the plan.

    Returns
    -------
    Route
        The chunks, sorted by sky range.
    """
    sent = plan.fragment
    if sent is None or plan.family is None:
        return _without_tree(plan)
    tree = snapshot.families[plan.family].tree
    kept = np.full(len(tree), sent.limit != 0)
    for restrictor in sent.restrictors:
        allowed = np.zeros(len(tree), dtype=np.bool_)
        allowed[tree.positions(_restricted(tree, restrictor, homes))] = True
        kept &= allowed
    sources = [_statistics(snapshot, sent, i) for i in range(len(sent.sources))]
    spread = [_spread(tree, s) for s in sources]
    for source in sent.needed:
        kept &= spread[source][0] > 0
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


def _without_tree(plan: Plan) -> Route:
    sent = plan.fragment
    runs = sent is not None and sent.limit != 0
    chunks = np.array([EVERYWHERE] if runs else [], dtype=np.int64)
    return Route(chunks, len(chunks), 0, 0, np.zeros(len(chunks), dtype=np.int64))


def _restricted(
    tree: ChunkTree, restrictor: AreaRestrictor | KeyRestrictor, homes: Homes
) -> npt.NDArray[np.int64]:
    match restrictor:
        case AreaRestrictor():
            area = restrictor.ranges
            if restrictor.offset and not area.is_empty:
                area = dilate(area, restrictor.offset)
            return tree.overlapping(area)
        case KeyRestrictor():
            return tree.locate(homes[restrictor])


def _statistics(snapshot: Snapshot, sent: Fragment, source: int) -> ChunkStatistics:
    read = sent.sources[source]
    return snapshot.table(read.release, read.table).statistics
