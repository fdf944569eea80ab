"""From a plan to the chunks that it runs on."""

from collections.abc import Mapping

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
        kept &= _at(tree, _restricted(tree, restrictor, homes), 1) > 0
    sources = [_statistics(snapshot, sent, i) for i in range(len(sent.sources))]
    for source in sent.needed:
        kept &= _at(tree, sources[source].chunks, 1) > 0
    read = [s for s in sources if s.chunks.size and s.chunks[0] != EVERYWHERE]
    rows = sum(int(_at(tree, s.chunks, s.rows)[kept].sum()) for s in read)
    work = np.zeros(len(tree), dtype=np.int64)
    for each in read:
        work += _at(tree, each.chunks, each.size)
    return Route(tree.chunks[kept], len(tree), rows, int(work[kept].sum()), work[kept])


def _at(
    tree: ChunkTree,
    chunks: npt.NDArray[np.int64],
    values: int | npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Return values at the places of their chunks in the tree; 0 elsewhere."""
    spread = np.zeros(len(tree), dtype=np.int64)
    spread[tree.positions(chunks)] = values
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
