"""Copies stored files from the workers that hold them: right and whole, or not at all.

The workers are asked in turn. A copy that is bad, missing or cut off is none: the next
worker is asked, and after a pause the first one again, for it may be on its way back.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc

from qserv import failpoint, patience
from qserv.catalog.snapshot import ManifestEntry
from qserv.errors import ChunkMissing, ClusterError, CorruptData
from qserv.ingest.peers import channel
from qserv.wire.errors import from_rpc
from qserv.wire.v1 import czar_pb2, worker_pb2, worker_pb2_grpc

_SECONDS: Final = 60.0
_SLOWEST: Final = 2**20
"""Bytes a second below which a worker is given up."""

Holders = Sequence[czar_pb2.WorkerLocation]


def fetch(entry: ManifestEntry, holders: Holders, target: Path) -> None:
    """Copy a file and compare it with its checksum.

    Parameters
    ----------
    entry
        What the metadata says of it.
    holders
        Who has it, preferred first.
    target
        Where it goes.

    Raises
    ------
    ChunkMissing
        If nobody has a good copy; says what is wrong with each.
    """
    patience.for_stored()(_from_any, entry, holders, target)
    failpoint.reached("rework.file.fetched")


def _from_any(entry: ManifestEntry, holders: Holders, target: Path) -> None:
    reasons: list[str] = []
    for holder in holders:
        try:
            return _fetch(entry, holder, target)
        except ClusterError as error:
            reasons.append(error.text)
    said = "; ".join(reasons) or "no worker that is there has one"
    raise ChunkMissing(
        f"no good copy of {entry.path} was found: {said}; bring its workers back, or "
        "see qserv doctor"
    )


def _fetch(entry: ManifestEntry, holder: czar_pb2.WorkerLocation, target: Path) -> None:
    stub = worker_pb2_grpc.WorkerStub(channel(holder.endpoint))
    request = worker_pb2.FetchRequest(path=entry.path)
    seconds = _SECONDS + entry.size / _SLOWEST
    digest, size = hashlib.sha256(), 0
    try:
        with target.open("wb") as file:
            for part in stub.Fetch(request, timeout=seconds):
                digest.update(part.data)
                size += file.write(part.data)
    except grpc.RpcError as error:
        raise from_rpc(error, holder.endpoint) from error
    if (size, digest.hexdigest()) != (entry.size, entry.sha256):
        raise CorruptData(
            f"worker {holder.worker_id} at {holder.endpoint} sent {size} bytes of "
            f"{entry.path} that are not those of its manifest"
        )
