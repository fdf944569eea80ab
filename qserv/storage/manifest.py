"""Manifests: which files make a table at a version, as one worker keeps them.

A manifest is whole: it lists every live file that this worker holds of the table, and
every chunk that is placed here, so that an empty chunk is told from one that is not
held. On the disk it is JSON lines: a head, the entries, and at last the sha256 of what
stands above.
"""

import errno
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from qserv.catalog.snapshot import EVERYWHERE, ManifestEntry, Role
from qserv.errors import CorruptData, InvalidRequest, TaskFailed
from qserv.storage.durable import LOST

Key = tuple[str, str, int]
"""Release, table and version."""


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

    @property
    def key(self) -> Key:
        """What it is of."""
        return self.release, self.table, self.version


FORMAT: Final = 1
"""Grows when an older qserv would misread a manifest."""

_HEAD: Final = tuple(f.name for f in fields(Manifest) if f.name != "entries")
_ENTRY: Final = tuple(f.name for f in fields(ManifestEntry))
_VALUES: Final = attrgetter(*_ENTRY)


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


def encode(manifest: Manifest) -> bytes:
    """Turn a manifest into the bytes of its file."""
    head = {"format": FORMAT} | {name: getattr(manifest, name) for name in _HEAD}
    lines = [json.dumps(head), *(json.dumps(_plain(e)) for e in manifest.entries)]
    body = "\n".join(lines).encode()
    return body + b"\n" + sha256(body).hexdigest().encode() + b"\n"


def decode(path: Path) -> Manifest:
    """Read a manifest.

    Raises
    ------
    CorruptData
        If it is missing, the disk lost it, or it does not match its checksum.
    TaskFailed
        If it could not be read for another reason.
    InvalidRequest
        If a newer qserv wrote it.
    """
    name = "/".join(path.parts[-3:])
    try:
        content_of = path.read_bytes()
    except OSError as error:
        text = f"manifest {name} cannot be read: {error.strerror}"
        if error.errno in {*LOST, errno.ENOENT}:
            raise CorruptData(f"{text}; restore it from another replica") from error
        raise TaskFailed(f"{text}; see to the worker's disk and permissions") from error
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
    return dict(zip(_ENTRY, _VALUES(entry), strict=True))


def _entry(plain: dict[str, Any]) -> ManifestEntry:
    low, high = plain["validity"]
    bounds = {name: (least, most) for name, (least, most) in plain["bounds"].items()}
    typed = {"role": Role(plain["role"]), "bounds": bounds, "validity": (low, high)}
    return ManifestEntry(**plain | typed)
