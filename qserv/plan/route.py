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
    for chosen in (
        *(_restricted(tree, r, homes) for r in sent.restrictors),
        *(_statistics(snapshot, sent, i).chunks for i in sent.needed),
    ):
        kept &= np.isin(tree.chunks, chosen)
    return _estimated(sent, snapshot, tree.chunks[kept], len(tree))


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


def _estimated(
    sent: Fragment, snapshot: Snapshot, chunks: npt.NDArray[np.int64], of: int
) -> Route:
    rows, work = 0, np.zeros(len(chunks), dtype=np.int64)
    for source in range(len(sent.sources)):
        statistics = _statistics(snapshot, sent, source)
        _, here, there = np.intersect1d(
            chunks, statistics.chunks, assume_unique=True, return_indices=True
        )
        work[here] += statistics.size[there]
        rows += int(statistics.rows[there].sum())
    return Route(chunks, of, rows, int(work.sum()), work)
