"""The manifests of one worker, durable.

Each version of a table is a file of its own; older ones stay while snapshots may read
them. Those that were used last are kept in memory, up to so many entries; of the others
only what they list together.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.errors import Conflict, CorruptData, InvalidRequest
from qserv.storage.durable import remove_file, write_file
from qserv.storage.layout import WorkerDirectory
from qserv.storage.listing import Listing, Told
from qserv.storage.manifest import Holding, Key, Manifest, decode, encode
from qserv.storage.quarantine import Quarantine
from qserv.telemetry import logger

Answer = TypeVar("Answer")

_log = logger(__name__)

_KEPT: Final = 1_000_000
"""Entries of manifests that are kept in memory: some 200 bytes each, for versions share
what is the same."""


class ManifestStore:
    """The manifests of one worker.

    Parameters
    ----------
    directory
        The worker's.
    quarantine
        Takes manifests that cannot be read; None leaves them where they are.
    kept
        Entries of manifests that are kept in memory; the newest used is kept whatever
        it has.

    Notes
    -----
    Reads may come from any thread, changes from one at a time.
    """

    def __init__(
        self,
        directory: WorkerDirectory,
        quarantine: Quarantine | None = None,
        kept: int = _KEPT,
    ) -> None:
        self._directory = directory
        self._quarantine = quarantine
        self._most = kept
        self._read: OrderedDict[Key, Holding] = OrderedDict()
        self._reading = threading.Lock()
        self._changes = 0
        self._listing: Listing | None = None
        self._listings = 0
        self._changing = threading.RLock()

    def holding(self, release: str, table: str, version: int) -> Holding | None:
        """Return what is held of a table at a version, or None.

        Raises
        ------
        CorruptData
            If the manifest's bytes do not match their checksum.
        """
        key = (release, table, version)
        while True:
            with self._reading:
                if (known := self._read.get(key)) is not None:
                    self._read.move_to_end(key)
                    return known
                changes = self._changes
            if not self._directory.manifest(*key).is_file():
                return None
            holding = self._prepared(self._decoded(key))
            if self._keep(key, holding, changes):
                return holding

    def _prepared(self, manifest: Manifest) -> Holding:
        listing = self._listing
        return Holding.of(listing.shared(manifest) if listing else manifest)

    def _keep(self, key: Key, holding: Holding, changes: int) -> bool:
        """Keep one in memory, in the place of those that were not used.

        Not if a manifest was changed while this one was read: it may be the old one,
        which would then be taken for what the disk has.
        """
        with self._reading:
            if changes != self._changes:
                return False
            self._read[key] = holding
            self._read.move_to_end(key)
            size = sum(len(held.paths) for held in self._read.values())
            while size > self._most and len(self._read) > 1:
                _, oldest = self._read.popitem(last=False)
                size -= len(oldest.paths)
        return True

    def readable(self) -> Iterator[Holding]:
        """Walk every version of every table, but those whose manifest is bad."""
        for key in self._keys():
            # A bad one is noted, and in the log, when it is put into quarantine.
            with suppress(CorruptData):
                if (holding := self.holding(*key)) is not None:
                    yield holding

    def each(self) -> Iterator[Manifest]:
        """Read every manifest from the disk, but bad ones, and keep none in memory."""
        for key in self._keys():
            with suppress(CorruptData):
                yield self._decoded(key)

    def check(self) -> list[str]:
        """Read all manifests from the disk; return what is wrong with which.

        One that is in memory is written again; another one goes into quarantine.
        """
        trouble = []
        for key in self._keys():
            try:
                decode(self._directory.manifest(*key))
            except CorruptData as error:
                trouble.append(error.text)
                with suppress(CorruptData):
                    self._decoded(key)
        return trouble

    def _decoded(self, key: Key) -> Manifest:
        try:
            return decode(self._directory.manifest(*key))
        except CorruptData:
            with self._changing:
                return self._again(key)

    def _again(self, key: Key) -> Manifest:
        """Read one that was found bad; a good one may have come, or it may be gone."""
        path = self._directory.manifest(*key)
        try:
            return decode(path)
        except CorruptData as error:
            if (known := self._read.get(key)) is not None:
                self._heal(path, known.manifest)
                return known.manifest
            if self._quarantine and path.exists():
                self._condemn(self._quarantine, path, error.text)
            raise

    def _heal(self, path: Path, manifest: Manifest) -> None:
        try:
            write_file(path, encode(manifest))
        except OSError as error:
            _log.warning("a bad manifest stays", path=str(path), error=str(error))

    def _condemn(self, quarantine: Quarantine, path: Path, reason: str) -> None:
        try:
            quarantine.take(path, "/".join(path.parts[-3:]), reason)
        except OSError as error:
            _log.warning("a bad manifest stays", path=str(path), error=str(error))
        self._unlist()

    def _unlist(self) -> None:
        """Forget what all list together: one of them is not there any more."""
        self._listings += 1
        self._listing = None

    def install(self, manifest: Manifest) -> None:
        """Make a manifest durable; the same one again is fine.

        Raises
        ------
        Conflict
            If the version has another content already.
        InvalidRequest
            If files need what this worker cannot do yet.
        """
        if delta := [e.path for e in manifest.entries if e.role is Role.DELTA]:
            raise InvalidRequest(f"{delta[0]}: workers read no delta files yet")
        if (held := self.holding(*manifest.key)) is None:
            self._write(manifest)
        elif held.manifest != manifest:
            raise Conflict(
                f"version {manifest.version} of {manifest.release}."
                f"{manifest.table} has another content already; use a new version"
            )
        self._supersede(manifest)

    def replace(self, manifest: Manifest) -> None:
        """Take over, durably, what the czar says that a version is here."""
        self._write(manifest)
        self._supersede(manifest)

    def _write(self, manifest: Manifest) -> None:
        with self._changing:
            with self._change(manifest.key):
                write_file(self._directory.manifest(*manifest.key), encode(manifest))
            holding = self._prepared(manifest)
            self._keep(manifest.key, holding, self._changes)
            if self._listing is not None:
                self._listing.add(holding.manifest)

    @contextmanager
    def _change(self, key: Key) -> Iterator[None]:
        """Change a manifest on the disk in the block; memory forgets what it was."""
        with self._changing:
            self._leave_out(key)
            try:
                yield
            except OSError:
                # Nobody knows which of both is there.
                self._unlist()
                raise
            finally:
                with self._reading:
                    self._changes += 1
                    self._read.pop(key, None)

    def _leave_out(self, key: Key) -> None:
        if self._listing is None or key not in self._listing.told:
            return
        try:
            before = self.holding(*key)
        except CorruptData:
            before = None
        if before is None:
            self._unlist()
        else:
            self._listing.remove(before.manifest)

    def _supersede(self, manifest: Manifest) -> None:
        """Forget versions that its load installed and that were never published.

        A load is published once; what it installed for a commit that failed would
        keep its files here for ever.
        """
        release, table, version = manifest.key
        for key, told in self.told().items():
            mine = told.transaction == manifest.transaction != ""
            if mine and key[:2] == (release, table) and key[2] != version:
                self._remove(key)

    def remove(self, manifest: Manifest) -> None:
        """Forget a manifest durably; its files stay."""
        self._remove(manifest.key)

    def _remove(self, key: Key) -> None:
        with self._change(key):
            remove_file(self._directory.manifest(*key))

    def newest(self) -> Iterator[Holding]:
        """Walk the newest version of each table."""
        newest = {(release, table): version for release, table, version in self._keys()}
        for (release, table), version in sorted(newest.items()):
            if (holding := self.holding(release, table, version)) is not None:
                yield holding

    def by(self, transaction: str) -> Iterator[Manifest]:
        """Walk the manifests that a load installed."""
        for key, told in self.told().items():
            mine = told.transaction == transaction
            if mine and (holding := self.holding(*key)) is not None:
                yield holding.manifest

    def told(self) -> dict[Key, Told]:
        """Return what is told of every version of every table, but bad ones."""
        return self._asked(lambda listing: dict(listing.told))

    def files(self) -> list[ManifestEntry]:
        """Return all files that readable manifests list, each once."""
        return self._asked(lambda listing: listing.files)

    def lists(self, path: str) -> bool:
        """Say whether any version lists a file."""
        return self.count(path) > 0

    def count(self, path: str) -> int:
        """Return how many versions list a file."""
        return self._asked(lambda listing: listing.count(path))

    def _asked(self, ask: Callable[[Listing], Answer]) -> Answer:
        with self._changing:
            while (listing := self._listing) is None:
                number, listing = self._listings, self._listed()
                if number == self._listings:
                    self._listing = listing
                    break
            return ask(listing)

    def _listed(self) -> Listing:
        listing = Listing()
        for holding in self.readable():
            listing.add(listing.shared(holding.manifest))
        return listing

    def _keys(self) -> list[Key]:
        return sorted(
            (path.parts[-3], path.parts[-2], int(path.stem))
            for path in self._directory.manifests.glob("*/*/*.json")
            # What people put beside them is none of ours.
            if path.stem.isdecimal()
        )
