"""Reads from a worker's directory what metadata can be made of again."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from qserv.catalog.gathered import Held, Listed
from qserv.errors import InvalidRequest
from qserv.storage.format import check
from qserv.storage.layout import WorkerDirectory
from qserv.storage.manifests import ManifestStore
from qserv.storage.remembered import Remembered


def recollect(directory: WorkerDirectory) -> Held:
    """Return what a worker has; it may be running.

    Parameters
    ----------
    directory
        The worker's.

    Raises
    ------
    InvalidRequest
        If no worker used the directory yet.
    """
    if not directory.identity.exists():
        raise InvalidRequest(f"{directory.root} is not the directory of a worker")
    check(directory)
    identity = json.loads(directory.identity.read_bytes())
    remembered = Remembered(directory)
    return Held(
        worker=identity["worker_id"],
        cluster=identity["cluster_id"],
        checkpoint=remembered.newest(),
        read=remembered.text,
        lists=partial(listed, directory),
    )


def listed(directory: WorkerDirectory) -> Iterator[Listed]:
    """Walk the manifests of a worker, each with the files only that are there.

    A manifest that is damaged is left out, with a line in the log: other workers have
    the same files, or what is rebuilt is found not to be whole.
    """
    there: dict[str, bool] = {}
    for manifest in ManifestStore(directory).each():
        for entry in manifest.entries:
            if entry.path not in there:
                there[entry.path] = _is_there(directory.file(entry.path), entry.size)
        yield Listed(
            release=manifest.release,
            table=manifest.table,
            version=manifest.version,
            transaction=manifest.transaction,
            entries=tuple(e for e in manifest.entries if there[e.path]),
        )


def _is_there(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False
