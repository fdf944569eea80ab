"""What the directories of a cluster say while it is stopped."""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from qserv import sqltext
from qserv.catalog import backends, database, history
from qserv.catalog.health import Facts, WorkerFacts
from qserv.catalog.snapshot import ManifestEntry
from qserv.czar.examination import metadata_facts
from qserv.errors import ClusterError, InvalidRequest, MetadataDamaged
from qserv.storage.inventory import Inventory
from qserv.storage.layout import WorkerDirectory
from qserv.storage.manifest import content
from qserv.storage.manifests import ManifestStore
from qserv.storage.room import Room

_CZAR: Final = "czar"
_SHOWN: Final = 100

Seen = Callable[[str, int, int], None]
"""Told which worker's directory is read, how many files were, of how many."""


def examine(
    directory: Path, *, verify: bool = False, seen: Seen = lambda *_: None
) -> Facts:
    """Read the metadata and the workers' directories of a cluster; changes nothing.

    Parameters
    ----------
    directory
        Of a cluster on one machine, or of a czar.
    verify
        Read every file and compare it with its checksum.
    seen
        Called as files are read.

    Raises
    ------
    Conflict
        If a czar runs on it.
    InvalidRequest
        If there is no metadata, or a newer qserv wrote it.
    MetadataUnavailable
        If its database does not answer; `MetadataDamaged` if it cannot be read.
    """
    facts = _metadata(directory / _CZAR if (directory / _CZAR).is_dir() else directory)
    here = [
        _worker(path.parent, verify=verify, seen=seen)
        for path in sorted(directory.glob("*/worker.json"))
    ]
    found = {worker.id for worker in here}
    elsewhere = [worker for worker in facts.workers if worker.id not in found]
    # A directory of another cluster, or of a worker that was given up.
    known = {worker.id for worker in facts.workers}
    mine = [worker for worker in here if worker.id in known]
    return replace(facts, workers=(*mine, *elsewhere))


def _metadata(directory: Path) -> Facts:
    place = backends.backend(directory)
    if isinstance(place, backends.Sqlite) and not place.exists:
        place.close()
        raise InvalidRequest(
            f"there is no metadata in {directory}; if it is lost: qserv metadata "
            "rebuild, or qserv metadata restore BACKUP"
        )
    try:
        with closing(place), database.told(place):
            place.own()
            facts = _read(place, directory)
    except sa.exc.DatabaseError as error:
        text = f"the metadata in {directory} is damaged: {error.orig}"
        raise MetadataDamaged(text) from error
    return replace(facts, running=False, version=version("qserv"), place=str(place))


def _read(place: backends.Backend, directory: Path) -> Facts:
    with place.engine.connect() as connection:
        _check_format(database.formats(connection), directory)
        tables = database.reflected(connection)
        snapshot = history.read_snapshot(connection, tables, None)
        return metadata_facts(connection, tables, snapshot, float("inf"))


def _check_format(have: frozenset[int], directory: Path) -> None:
    known = {number for number, _ in sqltext.migrations()}
    if have - known:
        raise InvalidRequest(
            f"{directory} holds metadata of format {max(have)}, but this qserv knows "
            f"{max(known)} at most; use the newer qserv"
        )
    if known - have:
        raise InvalidRequest(
            f"{directory} holds metadata of an older qserv; start a czar of this one "
            "there once, which brings it up to date"
        )


def _worker(root: Path, *, verify: bool, seen: Seen) -> WorkerFacts:
    directory = WorkerDirectory(root)
    manifests = ManifestStore(directory)
    entries: dict[str, ManifestEntry] = {}
    lists = {}
    for holding in manifests.readable():
        manifest = holding.manifest
        entries |= {entry.path: entry for entry in manifest.entries}
        # They come in the order of their versions.
        told = content(manifest.chunks, holding.paths)
        lists[manifest.release, manifest.table] = (manifest.version, told)
    damaged = _damaged(root, list(entries.values()), verify=verify, seen=seen)
    unknown = sorted(
        path
        for file in directory.data.rglob("*.parquet")
        if (path := file.relative_to(directory.data).as_posix()) not in entries
    )
    # Only its own settings say what else it keeps free.
    room = Room(root)
    return WorkerFacts(
        id=json.loads(directory.identity.read_bytes())["worker_id"],
        alive=True,
        version=version("qserv"),
        disk_free=room.free,
        disk_total=room.total,
        damaged=tuple(damaged[:_SHOWN]),
        damaged_total=len(damaged),
        bad=tuple(manifests.check()),
        unknown=tuple(unknown[:_SHOWN]),
        unknown_total=len(unknown),
        files=len(entries),
        size=sum(entry.size for entry in entries.values()),
        lists=lists,
    )


def _damaged(
    root: Path, entries: list[ManifestEntry], *, verify: bool, seen: Seen
) -> list[tuple[str, str]]:
    data = WorkerDirectory(root).data
    # It keeps nothing, and moves nothing.
    inventory = Inventory(data)
    found = []
    for number, entry in enumerate(entries):
        seen(root.name, number, len(entries))
        file = data / entry.path
        if not file.exists():
            found.append((entry.path, "it is missing"))
        elif file.stat().st_size != entry.size:
            found.append(
                (entry.path, f"it has {file.stat().st_size} bytes of {entry.size}")
            )
        elif verify:
            try:
                inventory.verify([entry])
            except ClusterError as error:
                found.append((entry.path, error.text))
    return found
