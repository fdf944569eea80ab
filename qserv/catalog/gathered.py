"""The files of tables as the manifests of several workers tell of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from qserv.catalog.checkpoint import Checkpoint, Read
from qserv.catalog.snapshot import ManifestEntry, Role


@dataclass(frozen=True, slots=True)
class Listed:
    """A manifest of one worker, with the files only that are there."""

    release: str
    table: str
    version: int
    transaction: str
    entries: tuple[ManifestEntry, ...] = field(repr=False)

    def of(self, tables: Sequence["GatheredTable"]) -> "GatheredTable | None":
        """Return which of the tables of its name, oldest first, it tells of.

        A table was dropped before the next one of its name was made.
        """
        then = [table for table in tables if table.first <= self.version]
        return then[-1] if then else None


@dataclass(frozen=True, slots=True)
class Held:
    """What one worker has.

    Parameters
    ----------
    worker, cluster
        Ids.
    checkpoint
        The newest that it remembers; None if it remembers none.
    read
        Returns the text of a part of it; may raise `CorruptData`.
    lists
        Reads its manifests; called once, since there may be many.
    """

    worker: str
    cluster: str
    checkpoint: Checkpoint | None
    read: Read
    lists: Callable[[], Iterable[Listed]] = field(repr=False)


@dataclass(slots=True)
class GatheredFile:
    """A file, the last version that lists it, and the workers that have it."""

    entry: ManifestEntry
    last: int
    workers: set[str] = field(default_factory=set)


@dataclass(slots=True)
class GatheredTable:
    """A table, its published versions, and what manifests say of its files.

    Parameters
    ----------
    id, name
        In the metadata; ``release.table``.
    wanted
        Version -> its live rows and files (None: not known), oldest first.
    files
        By path.
    newest
        Worker -> the newest published version that it has a manifest of.
    """

    id: int
    name: str
    wanted: dict[int, tuple[int, int | None]]
    files: dict[str, GatheredFile] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)

    @property
    def first(self) -> int:
        """Its first version."""
        return min(self.wanted)

    def take(self, worker: str, listed: Listed) -> None:
        """Take in a manifest."""
        # What was installed and never published still lists what had been before.
        version = max((v for v in self.wanted if v <= listed.version), default=0)
        if listed.version in self.wanted:
            self.newest[worker] = max(version, self.newest.get(worker, 0))
        for entry in listed.entries:
            if entry.validity[0] in self.wanted:
                file = self.files.setdefault(entry.path, GatheredFile(entry, version))
                file.last = max(file.last, version)
                file.workers.add(worker)

    def end(self, file: GatheredFile) -> int | None:
        """Return the version that ended a file's life; None while it is live.

        Only a worker that has the file tells it, by a later manifest without it: one
        that was away when a load was committed has none.
        """
        if all(self.newest.get(worker, 0) <= file.last for worker in file.workers):
            return None
        return min(version for version in self.wanted if version > file.last)

    def counts(self) -> dict[int, tuple[int, int]]:
        """Return how many live rows and files there are of each version."""
        changes = dict.fromkeys(self.wanted, (0, 0))
        for file in self.files.values():
            own = file.entry.role in {Role.BASE, Role.DELTA}
            rows = file.entry.live_rows if own else 0
            for version, sign in (file.entry.validity[0], 1), (self.end(file), -1):
                if version is not None:
                    before = changes[version]
                    changes[version] = before[0] + sign * rows, before[1] + sign
        sums = accumulate(changes.values(), lambda a, b: (a[0] + b[0], a[1] + b[1]))
        return dict(zip(changes, sums, strict=True))

    def whole(self) -> tuple[int, ...]:
        """Return the versions of which everything is there, oldest first."""
        return tuple(
            version
            for version, (rows, files) in self.counts().items()
            if self.wanted[version] in {(rows, files), (rows, None)}
        )
