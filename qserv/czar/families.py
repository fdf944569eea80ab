"""Chooses the family of a load: as it is, or made, with its tree and its workers."""

from collections.abc import Collection, Sequence

import numpy as np

from qserv.catalog.placement import place
from qserv.catalog.snapshot import EVERYWHERE, Family
from qserv.czar.beginning import Layout
from qserv.errors import InvalidRequest
from qserv.sky.chunking import ChunkTree, deepest_order


def family_for(layout: Layout, chunks: Sequence[int], alive: Collection[str]) -> Family:
    """Return the family that a load goes into.

    Parameters
    ----------
    layout
        How its tables are cut and copied.
    chunks
        The tree that the loader made; none, or as it is, where tables are cut by one.
    alive
        Ids of the live workers.

    Raises
    ------
    WorkerUnavailable
        If too few workers are alive for a new family.
    InvalidRequest
        If the tree is none, or not the family's.
    """
    existing = layout.existing
    if existing is None or not layout.cut:
        return _made(layout, ChunkTree(np.array(chunks, np.int64)), alive)
    if len(chunks) and list(chunks) != existing.tree.chunks.tolist():
        raise InvalidRequest(
            f"family {existing.name} has a tree of {len(existing.tree)} chunks "
            f"since its first load; the loader sent another"
        )
    return existing


def _made(layout: Layout, tree: ChunkTree, alive: Collection[str]) -> Family:
    if max(tree.orders) > (deepest := deepest_order(layout.overlap)):
        raise InvalidRequest(
            f"a leaf of order {max(tree.orders)} is too small for an overlap of "
            f"{layout.overlap:g} degrees: {deepest} is the deepest"
        )
    before = layout.existing
    # Replicated tables stay where they are: chunks go where they can be joined.
    workers = before.replicas[EVERYWHERE] if before else tuple(sorted(alive))
    return Family(
        name=layout.family,
        overlap=layout.overlap,
        leaf_rows=layout.leaf_rows,
        leaf_bytes=layout.leaf_bytes,
        tree_version=before.tree_version + 1 if before else 1,
        tree=tree,
        copies=layout.replicas,
        replicas={
            EVERYWHERE: workers,
            **place(tree.chunks, workers, layout.replicas),
        },
    )
