"""What each worker shall keep of a version that a load makes."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from qserv.catalog.filestore import Keepers
from qserv.catalog.publication import HeldFile
from qserv.catalog.replacing import Replaced
from qserv.catalog.snapshot import EVERYWHERE, Family, ManifestEntry, Role
from qserv.catalog.tables import Table
from qserv.errors import WorkerUnavailable
from qserv.ingest.manifests import Change
from qserv.storage.manifest import Manifest, content


class Listed(NamedTuple):
    """What a worker shall list: chunks that it can answer for, paths of files."""

    chunks: tuple[int, ...]
    paths: list[str]

    @property
    def content(self) -> bytes:
        """What tells it apart."""
        return content(self.chunks, self.paths)


def family_workers(family: Family) -> list[str]:
    """Return the ids of all workers that hold anything of a family, sorted."""
    return sorted({w for workers in family.replicas.values() for w in workers})


def keepers(file: HeldFile) -> Keepers:
    """Return who keeps a file."""
    return Keepers(file.entry.path, file.entry.chunk, file.entry.role, file.workers)


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a table as a load makes it.

    Parameters
    ----------
    load
        That makes it.
    release, table, number, family
        What it is of.
    """

    load: str
    release: str
    table: Table
    number: int
    family: Family

    def manifests(self, files: Collection[HeldFile]) -> dict[str, Manifest]:
        """Return what each worker shall keep.

        Parameters
        ----------
        files
            All files of the table that are live then, on whatever worker.
        """
        held = _by_worker(files)
        return {
            worker: self._manifest(listed.chunks, held[worker])
            for worker, listed in self.lists(map(keepers, files)).items()
        }

    def changes(
        self, base: int, staying: Collection[Keepers], fresh: Collection[HeldFile]
    ) -> dict[str, Change]:
        """Return what each worker shall add to what it keeps of an older version.

        Parameters
        ----------
        base
            The older version.
        staying, fresh
            Its files, all of which stay; those that come.
        """
        added = _by_worker(fresh)
        return {
            worker: Change(
                self._manifest(listed.chunks, added[worker]), base, listed.content
            )
            for worker, listed in self.lists([*staying, *map(keepers, fresh)]).items()
        }

    def lists(self, files: Iterable[Keepers]) -> dict[str, Listed]:
        """Return what each worker shall list of all files that are live.

        It names the chunks only of which a worker holds every file, so that it refuses
        the others: half a chunk would be a wrong answer.
        """
        placed = {
            chunk: frozenset(workers)
            for chunk, workers in self.family.replicas.items()
            if (chunk != EVERYWHERE) == self.table.partitioned
        }
        paths: dict[str, list[str]] = defaultdict(list)
        for path, chunk, role, workers in files:
            for worker in workers:
                paths[worker].append(path)
            if role != Role.INDEX and chunk in placed:
                placed[chunk] &= workers
        chunks: dict[str, list[int]] = defaultdict(list)
        for chunk in sorted(placed):
            for worker in placed[chunk]:
                chunks[worker].append(chunk)
        return {
            worker: Listed(tuple(chunks[worker]), paths[worker])
            for worker in sorted(paths.keys() | set(family_workers(self.family)))
        }

    def _manifest(
        self, chunks: tuple[int, ...], entries: Iterable[ManifestEntry]
    ) -> Manifest:
        return Manifest(
            release=self.release,
            table=self.table.name,
            version=self.number,
            tree_version=self.family.tree_version,
            transaction=self.load,
            chunks=chunks,
            # In an order of their own: a czar that goes on with a commit makes the
            # same again.
            entries=tuple(sorted(entries, key=lambda entry: entry.path)),
        )


@dataclass(frozen=True, slots=True)
class Making:
    """How a load makes a version.

    Parameters
    ----------
    version
        The version.
    fresh
        The files that come.
    base
        The older version all of whose files stay; 0 if there is none.
    going
        What goes.
    """

    version: Version
    fresh: tuple[HeldFile, ...]
    base: int = 0
    going: Replaced | None = None


def _by_worker(files: Iterable[HeldFile]) -> dict[str, list[ManifestEntry]]:
    held: dict[str, list[ManifestEntry]] = defaultdict(list)
    for file in files:
        for worker in file.workers:
            held[worker].append(file.entry)
    return held


def check_copies(files: Iterable[HeldFile], copies: int) -> None:
    """Refuse files that too few workers keep: losing one could lose rows.

    Raises
    ------
    WorkerUnavailable
        If one is such; names it.
    """
    for file in files:
        if len(file.workers) < copies:
            raise WorkerUnavailable(
                f"{file.entry.path} is kept by {len(file.workers)} workers of "
                f"{copies} that it needs"
            )


def check_chunks(
    family: Family,
    tables: Collection[Table],
    kept: Mapping[str, Iterable[Manifest | Change]],
) -> None:
    """Refuse a version that could not be read whole.

    Parameters
    ----------
    family, tables
        What the version is of.
    kept
        Worker -> what it keeps of these tables.

    Raises
    ------
    WorkerUnavailable
        If no worker keeps a chunk of all the tables; names it.
    """
    cut = sum(table.partitioned for table in tables)
    covered: set[int] = set()
    whole: set[str] = set()
    for worker, made in kept.items():
        counts = Counter(chunk for each in made for chunk in each.chunks)
        if counts.pop(EVERYWHERE, 0) == len(tables) - cut:
            whole.add(worker)
            covered |= {chunk for chunk, count in counts.items() if count == cut}

    def is_kept(chunk: int) -> bool:
        if cut:
            return chunk in covered
        return not whole.isdisjoint(family.replicas[chunk])

    for chunk in family.tree.chunks.tolist():
        if not is_kept(chunk):
            raise WorkerUnavailable(
                f"no live worker keeps chunk {chunk} of family {family.name} whole: "
                f"{', '.join(family.replicas[chunk])} shall"
            )
