"""Chooses the workers that take the files of one load.

These are the workers of the family, but that a worker which is dead or took no files
is replaced, for this load, by the one that each chunk prefers of those that remain. A
replacement only makes new files durable: queries still go to the family's workers, and
the one that was replaced catches up. So a chunk needs one of its family's workers, or
a family that nobody reads yet: that one is changed.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from qserv.catalog.placement import place
from qserv.catalog.snapshot import EVERYWHERE, Family
from qserv.errors import InvalidRequest, WorkerUnavailable

Workers = tuple[str, ...]
Lists = Mapping[int, Workers]


@dataclass(frozen=True, slots=True)
class Placed:
    """Which workers take the files of a load.

    Parameters
    ----------
    family
        Its tree, and the workers of each chunk.
    made
        Whether the load makes the family or its tree: nobody reads it yet.
    copies
        How many of its workers must hold a file before it may be shown.
    at
        Chunk (`EVERYWHERE` for replicated tables) -> the workers of its new files.
    shards
        New index shard -> its workers.
    first_shard
        The number of the first new index shard.
    """

    family: Family
    made: bool
    copies: int
    at: Lists
    shards: Lists
    first_shard: int


def choose(
    family: Family,
    *,
    made: bool,
    shards: range,
    replicas: int,
    usable: Collection[str],
) -> Placed:
    """Place a load for the first time.

    Parameters
    ----------
    family, made
        As in `Placed`.
    shards
        Numbers of its new index shards.
    replicas
        Copies of each chunk.
    usable
        The workers that are alive.

    Raises
    ------
    WorkerUnavailable
        If a chunk has no worker, or too few remain.
    """
    placed = Placed(
        family=family,
        made=made,
        copies=safe(replicas),
        at=family.replicas,
        shards=dict.fromkeys(shards, ()),
        first_shard=shards.start,
    )
    return again(placed, replicas=replicas, usable=usable)


def again(placed: Placed, *, replicas: int, usable: Collection[str]) -> Placed:
    """Replace the workers of a load that cannot be used.

    Parameters
    ----------
    placed
        As it was placed before.
    replicas
        Copies of each chunk.
    usable
        The workers that are alive and take files.

    Raises
    ------
    WorkerUnavailable
        If a chunk has no worker left, or too few remain.
    """
    able = frozenset(usable)
    lost = {c: w for c, w in placed.family.replicas.items() if able.isdisjoint(w)}
    if lost and not placed.made:
        raise _alone(placed.family, *min(lost.items()))
    placed = _changed(placed, lost, able)
    chunks = dict(placed.at)
    everywhere = {EVERYWHERE: chunks.pop(EVERYWHERE)}
    return replace(
        placed,
        at={
            **_filled(everywhere, safe(replicas), replicas, able),
            **_filled(chunks, replicas, replicas, able),
        },
        shards=_filled(placed.shards, replicas, replicas, able),
    )


def safe(replicas: int) -> int:
    """Return how many copies a file needs before it may be shown."""
    return min(replicas, 2)


def _alone(family: Family, chunk: int, workers: Workers) -> WorkerUnavailable:
    what = "the replicated tables" if chunk == EVERYWHERE else f"chunk {chunk}"
    return WorkerUnavailable(
        f"{what} of family {family.name} can only be read on "
        f"{' and '.join(f'worker {worker}' for worker in workers)}, not alive or "
        "taking no files now: start it, then load again"
    )


def _changed(placed: Placed, lost: Lists, able: Collection[str]) -> Placed:
    """Give chunks of a new family to others than those that are gone."""
    moved: dict[int, Workers] = {}
    for workers, chunks in _grouped(lost).items():
        moved |= place(chunks, sorted(able), max(1, min(len(workers), len(able))))
    return replace(
        placed,
        family=replace(placed.family, replicas={**placed.family.replicas, **moved}),
        at={**placed.at, **moved},
    )


def _filled(lists: Lists, wanted: int, replicas: int, able: Collection[str]) -> Lists:
    """Put others in the places of workers that are not able."""
    filled: dict[int, Workers] = {}
    for workers, numbers in _grouped(lists).items():
        kept = tuple(worker for worker in workers if worker in able)
        others = sorted(set(able) - set(kept))
        more = min(wanted - len(kept), len(others))
        if len(kept) + max(more, 0) < safe(replicas):
            raise WorkerUnavailable(
                f"a load with {replicas} replicas needs {safe(replicas)} workers that "
                f"take files, but {len(able)} do "
                f"({', '.join(sorted(able)) or 'none'}); start more, then load again"
            )
        extra = place(numbers, others, more) if more > 0 else {}
        filled |= {number: kept + extra.get(number, ()) for number in numbers}
    return {number: filled[number] for number in lists}


def _grouped(lists: Lists) -> dict[Workers, list[int]]:
    groups: dict[Workers, list[int]] = defaultdict(list)
    for number, workers in lists.items():
        groups[workers].append(number)
    return groups


def check_same(placed: Placed, chunks: Sequence[int], shards: int) -> None:
    """Refuse another placement of a load than it was given before.

    Parameters
    ----------
    placed
        The one that it was given.
    chunks, shards
        The tree, if the loader sent one, and how many shards of an index it wants.

    Raises
    ------
    InvalidRequest
        If they differ.
    """
    if len(chunks) and list(chunks) != placed.family.tree.chunks.tolist():
        raise InvalidRequest("the load was placed before; the loader sent another tree")
    if shards != len(placed.shards):
        raise InvalidRequest(
            f"the load was placed before with {len(placed.shards)} index shards, "
            f"not {shards}"
        )
