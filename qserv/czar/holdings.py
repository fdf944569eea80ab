"""Who has which files, and who shall: what repair decides upon."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from qserv.catalog.copystore import Copies
from qserv.catalog.placement import preferred
from qserv.catalog.snapshot import Role
from qserv.catalog.workerstore import WorkerState


class Unit(NamedTuple):
    """Files that go together: those of a chunk, or of a shard of an index.

    Parameters
    ----------
    family
        Its name.
    table
        The table of an index shard; 0 for a chunk, which all tables share.
    chunk
        The chunk or the shard.
    """

    family: str
    table: int
    chunk: int


@dataclass(frozen=True, slots=True)
class File:
    """A file of a table that some snapshot reads.

    Parameters
    ----------
    number, table
        Its number and that of its table in the metadata.
    unit
        What it goes with.
    path, size
        As in its manifest entry.
    first, end
        The versions [first, end) in which it is live; end None while it is.
    """

    number: int
    table: int
    unit: Unit
    path: str
    size: int
    first: int
    end: int | None

    def live(self, version: int) -> bool:
        """Say whether a version of its table lists it."""
        return self.first <= version and (self.end is None or version < self.end)


@dataclass(frozen=True, slots=True)
class Group:
    """The chunks of one family.

    Parameters
    ----------
    copies
        How many are wanted of each chunk.
    placement
        Chunk -> the workers that queries ask, preferred first.
    goal
        Chunk -> the workers that shall hold it, where these are others.
    """

    copies: int
    placement: Mapping[int, tuple[str, ...]]
    goal: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def aim(self, chunk: int) -> tuple[str, ...]:
        """Return the workers that shall hold a chunk."""
        return self.goal.get(chunk, self.placement.get(chunk, ()))


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a table that workers keep a manifest of."""

    table: int
    release: str
    name: str
    family: str
    partitioned: bool
    version: int
    tree_version: int
    transaction: str

    @property
    def key(self) -> tuple[str, str, int]:
        """By which a worker tells of its manifest."""
        return self.release, self.name, self.version


@dataclass(frozen=True)
class State:
    """What there is and what is wanted.

    Parameters
    ----------
    groups
        By name of the family.
    files
        By number.
    held, bad
        Number -> the workers with a good copy; with one that is missing or spoiled.
    states
        What workers are to do, by id.
    alive
        The workers that answer.
    full
        Those of them that have no room.
    busy
        Families that loads are under way into.
    """

    groups: Mapping[str, Group]
    files: Mapping[int, File]
    held: Mapping[int, frozenset[str]]
    bad: Mapping[int, frozenset[str]] = field(default_factory=dict)
    states: Mapping[str, WorkerState] = field(default_factory=dict)
    alive: frozenset[str] = frozenset()
    full: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()

    def with_placement(
        self, placed: Mapping[str, Mapping[int, tuple[str, ...]]]
    ) -> "State":
        """Return it with some chunks, by family, placed otherwise."""
        groups = {
            name: replace(
                self.groups[name], placement={**self.groups[name].placement, **chunks}
            )
            for name, chunks in placed.items()
        }
        return replace(self, groups={**self.groups, **groups})

    def with_copies(self, worker: str, numbers: Collection[int]) -> "State":
        """Return it with a worker that has good copies of files."""
        nobody: frozenset[str] = frozenset()
        held = {n: self.held.get(n, nobody) | {worker} for n in numbers}
        bad = {n: self.bad.get(n, nobody) - {worker} for n in numbers}
        return replace(self, held={**self.held, **held}, bad={**self.bad, **bad})

    @cached_property
    def units(self) -> Mapping[Unit, Sequence[File]]:
        """The files of each unit that has any."""
        found = defaultdict(list)
        for file in self.files.values():
            found[file.unit].append(file)
        return found

    @cached_property
    def _tables(self) -> Mapping[int, Sequence[File]]:
        found = defaultdict(list)
        for file in self.files.values():
            found[file.table].append(file)
        return found

    def of_table(self, table: int) -> Sequence[File]:
        """Return the files of a table, of all versions."""
        return self._tables.get(table, ())

    @cached_property
    def _counts(self) -> Mapping[Unit, Counter[str]]:
        return {
            unit: Counter(w for f in files for w in self.held.get(f.number, ()))
            for unit, files in self.units.items()
        }

    def whole(self, unit: Unit, worker: str) -> bool:
        """Say whether a worker has every file of a unit."""
        files = self.units.get(unit, ())
        return not files or self._counts[unit][worker] == len(files)

    def is_active(self, worker: str) -> bool:
        """Say whether a worker may be given something new."""
        return self.states.get(worker, WorkerState.ACTIVE) is WorkerState.ACTIVE

    def is_lost(self, worker: str) -> bool:
        """Say whether a worker is never again expected."""
        return self.states.get(worker) is WorkerState.LOST

    @cached_property
    def able(self) -> frozenset[str]:
        """The workers that can take something new now."""
        return frozenset(w for w in self.alive - self.full if self.is_active(w))

    @cached_property
    def wanted(self) -> Mapping[Unit, tuple[str, ...]]:
        """The workers that shall hold each unit that has files."""
        return {
            unit: self._shard_aim(unit)
            if unit.table
            else self.groups[unit.family].aim(unit.chunk)
            for unit in self.units
        }

    def _shard_aim(self, unit: Unit) -> tuple[str, ...]:
        copies = self.groups[unit.family].copies
        holders = {w for w in self._counts[unit] if self.whole(unit, w)}
        stay = preferred(unit.chunk, [w for w in holders if self.is_active(w)])[:copies]
        more = preferred(unit.chunk, self.able - set(stay))
        return (stay + more)[:copies]


@dataclass(frozen=True, slots=True)
class Known:
    """What the metadata says, and the workers that answer.

    Parameters
    ----------
    state
        Who has what.
    versions
        All that workers keep manifests of.
    leaving
        Number of a file -> the workers that have yet to drop it.
    """

    state: State
    versions: tuple[Version, ...]
    leaving: Mapping[int, frozenset[str]]

    @staticmethod
    def of(
        copies: Copies,
        *,
        states: Mapping[str, WorkerState],
        alive: frozenset[str],
        full: frozenset[str],
        busy: frozenset[str],
    ) -> "Known":
        """Put rows of the metadata together with what is known of the workers."""
        state = State(
            groups={name: _group(copies, name) for name in copies.families},
            files={row.id: _file(row) for row in copies.files},
            held=copies.held,
            bad=copies.bad,
            states=states,
            alive=alive,
            full=full,
            busy=busy,
        )
        versions = tuple(
            Version(
                table=row.table_id,
                release=row.release,
                name=row.name,
                family=row.family_name,
                partitioned=bool(row.partitioned),
                version=row.version,
                tree_version=row.tree_version,
                transaction=row.load_id or "",
            )
            for row in copies.versions
        )
        return Known(state, versions, copies.leaving)


def _group(copies: Copies, name: str) -> Group:
    placement = copies.placement.get(name, {})
    goal = copies.goal.get(name, {})
    # A tree that was made anew has other chunks.
    goal = {chunk: aim for chunk, aim in goal.items() if chunk in placement}
    return Group(copies.families[name], placement, goal)


def _file(row: Any) -> File:
    table = row.table_id if row.role == Role.INDEX else 0
    return File(
        number=row.id,
        table=row.table_id,
        unit=Unit(row.family_name, table, row.chunk),
        path=row.path,
        size=row.size,
        first=row.valid_from,
        end=row.valid_to,
    )
