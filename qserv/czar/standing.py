"""How far copies are from what is wanted, in numbers."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from qserv.catalog.snapshot import EVERYWHERE
from qserv.czar import replication
from qserv.czar.holdings import State, Unit


@dataclass(frozen=True, slots=True)
class FamilyStanding:
    """The copies of one family.

    Parameters
    ----------
    name
        Its name.
    chunks
        Leaves of its tree.
    copies
        How many are wanted of each chunk.
    under
        Chunks with fewer whole copies on workers that answer.
    unavailable
        Chunks with none.
    """

    name: str
    chunks: int
    copies: int
    under: int
    unavailable: int


@dataclass(frozen=True, slots=True)
class Standing:
    """The copies of all families, or of some.

    Parameters
    ----------
    families
        One by one.
    files
        That any snapshot reads.
    missing, missing_size
        Copies that are to be made, and their bytes.
    surplus
        Copies that are to be dropped.
    chunks, sizes
        Worker -> chunks that it is asked for; bytes that it has.
    """

    families: tuple[FamilyStanding, ...]
    files: int
    missing: int
    missing_size: int
    surplus: int
    chunks: Counter[str]
    sizes: Counter[str]

    @property
    def under(self) -> int:
        """Chunks that lack a copy."""
        return sum(family.under for family in self.families)


def standing(
    state: State,
    leaving: Mapping[int, Collection[str]],
    families: Collection[str] | None = None,
) -> Standing:
    """Count.

    Parameters
    ----------
    state
        What there is.
    leaving
        Number of a file -> workers that have yet to drop it.
    families
        Names; None: all.
    """
    names = [n for n in sorted(state.groups) if families is None or n in families]
    lacking = [f for f, _ in replication.missing(state) if f.unit.family in names]
    chunks: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for name in names:
        for chunk, workers in state.groups[name].placement.items():
            if chunk != EVERYWHERE:
                chunks.update(workers)
    files = [f for f in state.files.values() if f.unit.family in names]
    for file in files:
        for worker in state.held.get(file.number, ()):
            sizes[worker] += file.size
    return Standing(
        families=tuple(_family(state, name) for name in names),
        files=len(files),
        missing=len(lacking),
        missing_size=sum(file.size for file in lacking),
        surplus=sum(
            len(state.held.get(file.number, set()) - {*state.wanted[file.unit]})
            + len(leaving.get(file.number, ()))
            for file in files
        ),
        chunks=chunks,
        sizes=sizes,
    )


def _family(state: State, name: str) -> FamilyStanding:
    group = state.groups[name]
    good = [
        sum(
            worker in state.alive and state.whole(Unit(name, 0, chunk), worker)
            for worker in workers
        )
        for chunk, workers in group.placement.items()
        if chunk != EVERYWHERE
    ]
    return FamilyStanding(
        name=name,
        chunks=len(good),
        copies=group.copies,
        under=sum(copies < group.copies for copies in good),
        unavailable=sum(not copies for copies in good),
    )
