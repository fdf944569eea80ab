"""What is to be copied, and what may be dropped: a pure decision.

Three things are told apart. The *placement* is what queries are routed by: a worker in
it has everything of the chunk. The *goal* is where a chunk shall lie; it changes when
workers come, go, or are asked for another number of copies. The *copies* are what
workers are known to have. A worker of the goal first gets all files, then enters the
placement; one that is not of the goal leaves it when all of the goal are in it and
alive; only then its copies are dropped.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from qserv.catalog.placement import adjust, preferred
from qserv.catalog.snapshot import EVERYWHERE
from qserv.czar.holdings import File, Group, State, Unit, Version

FILES: Final = 4096
BYTES: Final = 4 * 2**30
"""So many files, or bytes, are copied to a worker before they count."""

Placed = dict[int, tuple[str, ...]]

_NOBODY: Final[frozenset[str]] = frozenset()


def aims(state: State) -> dict[str, Placed]:
    """Return where the chunks of each family shall lie: family -> chunk -> workers."""
    return {name: _aim(state, group) for name, group in state.groups.items()}


def _aim(state: State, group: Group) -> Placed:
    before = {chunk: group.aim(chunk) for chunk in group.placement}
    known = {w for held in before.values() for w in held if state.is_active(w)}
    workers = known | state.able
    if not workers:
        return before
    chunks = {chunk: held for chunk, held in before.items() if chunk != EVERYWHERE}
    after = adjust(chunks, workers, group.copies, able=state.able)
    if EVERYWHERE in before:
        stay = [w for w in before[EVERYWHERE] if w in workers]
        after[EVERYWHERE] = (*stay, *sorted(workers - set(stay)))
    return after


@dataclass(frozen=True, slots=True)
class Copy:
    """Files that a worker shall copy, and who has them."""

    worker: str
    files: tuple[File, ...]
    sources: Mapping[int, tuple[str, ...]]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def missing(state: State) -> Iterator[tuple[File, str]]:
    """Walk the copies that are wanted and not there."""
    for unit, files in state.units.items():
        for worker in state.wanted[unit]:
            if not state.whole(unit, worker):
                for file in files:
                    if worker not in state.held.get(file.number, ()):
                        yield file, worker


def copies(
    state: State,
    *,
    skip: Collection[tuple[int, str]] = (),
    most: Mapping[str, int] | None = None,
) -> dict[str, Copy]:
    """Choose what each worker shall copy next.

    Parameters
    ----------
    state
        What there is.
    skip
        (Number, worker) of what failed a moment ago.
    most
        Worker -> files that it copies at a time, where these are few.

    Returns
    -------
    dict
        By worker: replicated tables first, for chunks are joined with them; then what
        has the fewest copies.
    """
    found = defaultdict(list)
    for file, worker in missing(state):
        if worker in state.alive - state.full and (file.number, worker) not in skip:
            sources = _sources(state, file)
            if sources:
                replicated = not file.unit.table and file.unit.chunk == EVERYWHERE
                rank = (not replicated, len(sources), file.unit, file.number)
                found[worker].append((rank, file, sources))
    return {
        worker: _copy(worker, sorted(each)[: (most or {}).get(worker, FILES)])
        for worker, each in found.items()
    }


def _sources(state: State, file: File) -> tuple[str, ...]:
    names = sorted(state.held.get(file.number, _NOBODY) & state.alive)
    # Whoever copies much shall not ask one worker for all of it.
    first = file.number % max(1, len(names))
    return (*names[first:], *names[:first])


_Ranked = tuple[tuple[bool, int, Unit, int], File, tuple[str, ...]]


def _copy(worker: str, ranked: Iterable[_Ranked]) -> Copy:
    chosen: dict[int, tuple[File, tuple[str, ...]]] = {}
    size = 0
    for _, file, sources in ranked:
        if chosen and size + file.size > BYTES:
            break
        chosen[file.number] = file, sources
        size += file.size
    return Copy(
        worker,
        tuple(file for file, _ in chosen.values()),
        {number: sources for number, (_, sources) in chosen.items()},
    )


def widened(state: State, worker: str) -> dict[str, Placed]:
    """Return the placement of chunks of which a worker now has everything.

    Parameters
    ----------
    state
        What there is.
    worker
        Of the goal.
    """
    found: dict[str, Placed] = defaultdict(dict)
    for name, group in state.groups.items():
        if not state.whole(Unit(name, 0, EVERYWHERE), worker):
            continue
        for chunk, aim in group.goal.items():
            held = group.placement.get(chunk, ())
            if worker not in aim or worker in held:
                continue
            if state.whole(Unit(name, 0, chunk), worker):
                found[name][chunk] = ordered(chunk, (*held, worker))
    return found


def ordered(chunk: int, workers: Collection[str]) -> tuple[str, ...]:
    """Return the workers of a chunk as a placement has them."""
    everywhere = chunk == EVERYWHERE
    return tuple(sorted(workers)) if everywhere else preferred(chunk, workers)


def narrowed(state: State) -> dict[str, Placed]:
    """Return the placement of chunks that no longer need all who hold them."""
    found: dict[str, Placed] = defaultdict(dict)
    for name, group in state.groups.items():
        if name in state.busy:
            continue
        asked = {
            worker
            for chunk, held in group.placement.items()
            if chunk != EVERYWHERE
            for worker in held
        }
        for chunk, aim in group.goal.items():
            held = set(group.placement.get(chunk, ()))
            # Chunks are joined with replicated tables: who has any needs these.
            stay = {*aim, *(held & asked)} if chunk == EVERYWHERE else {*aim}
            if held > stay and _stands(state, Unit(name, 0, chunk), aim):
                found[name][chunk] = ordered(chunk, stay)
    return found


def _stands(state: State, unit: Unit, workers: Collection[str]) -> bool:
    """Say whether all of some workers have a unit and answer."""
    return bool(workers) and all(
        worker in state.alive and state.whole(unit, worker) for worker in workers
    )


def surplus(state: State) -> set[tuple[int, str]]:
    """Return the copies, (number, worker), that nobody needs any longer."""
    found = set()
    for unit, files in state.units.items():
        aim = state.wanted[unit]
        if unit.family in state.busy or not _stands(state, unit, aim):
            continue
        placed = state.groups[unit.family].placement.get(unit.chunk, ())
        needed = {*aim, *(() if unit.table else placed)}
        for file in files:
            there = state.held.get(file.number, frozenset()) | state.bad.get(
                file.number, frozenset()
            )
            found |= {(file.number, worker) for worker in there - needed}
    return found


def only_copies(state: State, worker: str) -> list[File]:
    """Return the files of which no other worker that is expected has a copy."""
    return [
        file
        for file in state.files.values()
        if worker in (held := state.held.get(file.number, frozenset()))
        and all(other == worker or state.is_lost(other) for other in held)
    ]


@dataclass(frozen=True, slots=True)
class Listed:
    """What a worker's manifest of a version shall list: chunks, numbers of files."""

    chunks: tuple[int, ...]
    files: tuple[int, ...]


def listed(
    state: State, version: Version, worker: str, absent: Collection[int] = ()
) -> Listed:
    """Return what a worker shall list of a table at a version.

    Parameters
    ----------
    state
        What there is.
    version
        Of the table.
    worker
        Its id.
    absent
        Numbers of files that it turned out not to have.

    Notes
    -----
    A chunk of which a file is missing is not named: the worker refuses it.
    """
    group = state.groups[version.family]
    mine, lacking = [], set()
    for file in state.of_table(version.table):
        if not file.live(version.version):
            continue
        number = file.number
        there = worker in state.held.get(number, ()) or worker in state.bad.get(
            number, ()
        )
        if there and number not in absent:
            mine.append(number)
        elif not file.unit.table:
            lacking.add(file.unit.chunk)
    chunks = tuple(
        chunk
        for chunk, workers in group.placement.items()
        if worker in workers
        and chunk not in lacking
        and (chunk != EVERYWHERE) == version.partitioned
    )
    return Listed(chunks, tuple(mine))


def listings(state: State, version: Version) -> dict[str, Listed]:
    """Return `listed` of all workers that have to do with a version's family.

    One walk over its files serves all: there may be a million, and many workers.
    """
    placement = state.groups[version.family].placement
    files: dict[str, list[int]] = defaultdict(list)
    lacking: dict[str, set[int]] = defaultdict(set)
    for file in state.of_table(version.table):
        if not file.live(version.version):
            continue
        there = state.held.get(file.number, _NOBODY) | state.bad.get(
            file.number, _NOBODY
        )
        for worker in there:
            files[worker].append(file.number)
        if not file.unit.table:
            for worker in placement.get(file.unit.chunk, ()):
                if worker not in there:
                    lacking[worker].add(file.unit.chunk)
    chunks: dict[str, list[int]] = defaultdict(list)
    for chunk, workers in placement.items():
        for worker in workers:
            named = (chunk != EVERYWHERE) == version.partitioned
            chunks[worker] += [chunk] if named and chunk not in lacking[worker] else []
    return {
        worker: Listed(tuple(chunks[worker]), tuple(files[worker]))
        for worker in [*chunks, *(files.keys() - chunks.keys())]
    }
