"""Manifests: which files make a table at a version, as one worker keeps them.

A manifest is whole: it lists every live file that this worker holds of the table, and
every chunk that is placed here, so that an empty chunk is told from one that is not
held. Each version is a file of its own; older ones stay while snapshots may read them.
A file is JSON lines: a head, the entries, and at last the sha256 of what stands above.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from qserv.catalog.snapshot import EVERYWHERE, ManifestEntry, Role
from qserv.errors import Conflict, CorruptData, InvalidRequest
from qserv.storage.durable import remove_file, write_file
from qserv.storage.layout import WorkerDirectory
from qserv.storage.quarantine import Quarantine


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one table at one version that one worker holds.

    Parameters
    ----------
    release, table
        The catalog's spelling.
    version
        Of the table's list of files; names one content for ever.
    tree_version
        Of the family's chunk tree.
    transaction
        The load that installed it.
    chunks
        Placed on this worker, with or without files; `EVERYWHERE` for a replicated
        table.
    entries
        The live files.
    """

    release: str
    table: str
    version: int
    tree_version: int
    transaction: str
    chunks: tuple[int, ...]
    entries: tuple[ManifestEntry, ...]


FORMAT: Final = 1
"""Grows when an older qserv would misread a manifest."""

_HEAD: Final = tuple(f.name for f in fields(Manifest) if f.name != "entries")
_ENTRY: Final = tuple(f.name for f in fields(ManifestEntry))


@dataclass(frozen=True, slots=True)
class Holding:
    """A manifest prepared for tasks.

    Parameters
    ----------
    manifest
        What it was made of.
    placed
        Chunks that can be answered here: nothing of them is missing.
    paths
        Of all files.
    own, overlap
        Chunk -> its files; a chunk without files is not in it.
    index
        Shard -> its files.
    """

    manifest: Manifest
    placed: frozenset[int]
    paths: frozenset[str]
    own: Mapping[int, tuple[ManifestEntry, ...]]
    overlap: Mapping[int, tuple[ManifestEntry, ...]]
    index: Mapping[int, tuple[ManifestEntry, ...]]

    @staticmethod
    def of(manifest: Manifest) -> "Holding":
        """Sort a manifest's files by what they are for."""
        own = _by_chunk(manifest.entries, Role.BASE)
        overlap = _by_chunk(manifest.entries, Role.OVERLAP)
        return Holding(
            manifest=manifest,
            placed=frozenset(manifest.chunks),
            paths=frozenset(entry.path for entry in manifest.entries),
            own=own,
            overlap=overlap,
            index=_by_chunk(manifest.entries, Role.INDEX),
        )

    @property
    def chunks(self) -> int:
        """How many chunks of the sky are placed here."""
        return len(self.placed - {EVERYWHERE})

    @property
    def rows(self) -> int:
        """Live own rows."""
        return sum(e.live_rows for e in self.manifest.entries if e.role is Role.BASE)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.manifest.entries)


class ManifestStore:
    """The manifests of one worker, durable, each read once.

    Parameters
    ----------
    directory
        The worker's.
    quarantine
        Takes manifests that cannot be read; None leaves them where they are.

    Notes
    -----
    Reads may come from any thread, changes from one at a time.
    """

    def __init__(
        self, directory: WorkerDirectory, quarantine: Quarantine | None = None
    ) -> None:
        self._directory = directory
        self._quarantine = quarantine
        self._read: dict[tuple[str, str, int], Holding] = {}

    def cached(self, release: str, table: str, version: int) -> Holding | None:
        """Return a holding that was read before, without touching the disk."""
        return self._read.get((release, table, version))

    def holding(self, release: str, table: str, version: int) -> Holding | None:
        """Return what is held of a table at a version, or None.

        Raises
        ------
        CorruptData
            If the manifest's bytes do not match their checksum.
        """
        key = (release, table, version)
        if key not in self._read:
            path = self._directory.manifest(release, table, version)
            if not path.is_file():
                return None
            self._read[key] = Holding.of(self._decoded(path))
        return self._read[key]

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
                yield self._decoded(self._directory.manifest(*key))

    def check(self) -> list[str]:
        """Read all manifests from the disk; return what is wrong with which.

        One that was read before is written again from memory.
        """
        trouble = []
        for key in self._keys():
            path = self._directory.manifest(*key)
            try:
                _decode(path)
            except CorruptData as error:
                trouble.append(error.text)
                if (known := self._read.get(key)) is not None:
                    write_file(path, _encode(known.manifest))
        return trouble

    def _decoded(self, path: Path) -> Manifest:
        try:
            return _decode(path)
        except CorruptData as error:
            if self._quarantine:
                name = "/".join(path.parts[-3:])
                self._quarantine.take(path, name, error.text)
            raise

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
        key = (manifest.release, manifest.table, manifest.version)
        if (held := self.holding(*key)) is not None:
            if held.manifest != manifest:
                raise Conflict(
                    f"version {manifest.version} of {manifest.release}."
                    f"{manifest.table} has another content already; use a new version"
                )
            return
        write_file(self._directory.manifest(*key), _encode(manifest))
        self._read[key] = Holding.of(manifest)

    def replace(self, manifest: Manifest) -> None:
        """Take over, durably, what the czar says that a version is here."""
        key = (manifest.release, manifest.table, manifest.version)
        write_file(self._directory.manifest(*key), _encode(manifest))
        self._read[key] = Holding.of(manifest)

    def lists(self, path: str) -> bool:
        """Say whether any version lists a file."""
        release, table, *_ = path.split("/")
        versions = self._keys(release, table.partition(".")[0])
        held = (self.holding(*key) for key in reversed(versions))
        return any(path in holding.paths for holding in held if holding is not None)

    def remove(self, manifest: Manifest) -> None:
        """Forget a manifest durably; its files stay."""
        key = (manifest.release, manifest.table, manifest.version)
        self._read.pop(key, None)
        remove_file(self._directory.manifest(*key))

    def newest(self) -> Iterator[Holding]:
        """Walk the newest version of each table."""
        versions: dict[tuple[str, str], int] = defaultdict(int)
        for release, table, version in self._keys():
            versions[release, table] = max(version, versions[release, table])
        for (release, table), version in sorted(versions.items()):
            if (holding := self.holding(release, table, version)) is not None:
                yield holding

    def all(self) -> Iterator[Holding]:
        """Walk every version of every table."""
        for key in self._keys():
            if (holding := self.holding(*key)) is not None:
                yield holding

    def _keys(self, release: str = "*", table: str = "*") -> list[tuple[str, str, int]]:
        return sorted(
            (path.parts[-3], path.parts[-2], int(path.stem))
            for path in self._directory.manifests.glob(f"{release}/{table}/*.json")
        )


def content(chunks: Iterable[int], paths: Iterable[str]) -> bytes:
    """Return what tells two contents of one manifest's version apart."""
    lines = [*map(str, sorted(chunks)), *sorted(paths)]
    return sha256("\n".join(lines).encode()).digest()


def _by_chunk(
    entries: Iterable[ManifestEntry], role: Role
) -> dict[int, tuple[ManifestEntry, ...]]:
    found: dict[int, list[ManifestEntry]] = defaultdict(list)
    for entry in entries:
        if entry.role is role:
            found[entry.chunk].append(entry)
    return {chunk: tuple(files) for chunk, files in found.items()}


def _encode(manifest: Manifest) -> bytes:
    head = {"format": FORMAT} | {name: getattr(manifest, name) for name in _HEAD}
    lines = [json.dumps(head), *(json.dumps(_plain(e)) for e in manifest.entries)]
    body = "\n".join(lines).encode()
    return body + b"\n" + sha256(body).hexdigest().encode() + b"\n"


def _decode(path: Path) -> Manifest:
    name = "/".join(path.parts[-3:])
    try:
        content_of = path.read_bytes()
    except OSError as error:
        raise CorruptData(
            f"manifest {name} cannot be read: {error.strerror}; "
            "restore it from another replica"
        ) from error
    body, _, checksum = content_of.rstrip(b"\n").rpartition(b"\n")
    if sha256(body).hexdigest().encode() != checksum:
        raise CorruptData(
            f"manifest {name} does not match its checksum; "
            "restore it from another replica"
        )
    head, *entries = map(json.loads, body.splitlines())
    # The first manifests had no number.
    if (number := head.pop("format", 1)) > FORMAT:
        raise InvalidRequest(
            f"manifest {name} has format {number}, but this qserv knows {FORMAT} at "
            "most; use the newer qserv"
        )
    made = {"chunks": tuple(head["chunks"]), "entries": tuple(map(_entry, entries))}
    return Manifest(**head | made)


def _plain(entry: ManifestEntry) -> dict[str, Any]:
    plain = {name: getattr(entry, name) for name in _ENTRY}
    return plain | {"bounds": dict(entry.bounds)}


def _entry(plain: dict[str, Any]) -> ManifestEntry:
    low, high = plain["validity"]
    bounds = {name: (least, most) for name, (least, most) in plain["bounds"].items()}
    typed = {"role": Role(plain["role"]), "bounds": bounds, "validity": (low, high)}
    return ManifestEntry(**plain | typed)
