"""Asks a worker what metadata can be made of again."""

from hashlib import sha256

import grpc

from qserv.catalog.checkpoint import decode
from qserv.catalog.gathered import Held, Listed
from qserv.catalog.snapshot import ManifestEntry
from qserv.errors import CorruptData, TaskFailed
from qserv.storage.remembered import unpacked
from qserv.wire.channel import sync_channel
from qserv.wire.errors import from_rpc
from qserv.wire.messages import entry_from_proto
from qserv.wire.v1 import worker_pb2
from qserv.wire.v1.worker_pb2_grpc import WorkerStub

__all__ = ["recall"]


def recall(endpoint: str) -> Held:
    """Return what the worker at an address has.

    Parameters
    ----------
    endpoint
        ``host:port``.

    Raises
    ------
    WorkerUnavailable
        If it does not answer.
    InvalidRequest
        If it never joined a czar.
    """
    with sync_channel(endpoint) as channel:
        parts = WorkerStub(channel).Recall(worker_pb2.RecallRequest())
        collected = _Collected()
        try:
            for part in parts:
                collected.add(part)
        except grpc.RpcError as error:
            raise from_rpc(error, endpoint) from error
    return collected.held(endpoint)


class _Collected:
    """Collects what a worker streams."""

    def __init__(self) -> None:
        self._header: worker_pb2.RecallHeader | None = None
        self._texts: dict[str, bytes] = {}
        self._lists: list[Listed] = []
        # Every version lists all live files again: each is kept once.
        self._entries: dict[str, ManifestEntry] = {}

    def add(self, part: worker_pb2.RecallPart) -> None:
        match part.WhichOneof("part"):
            case "header":
                self._header = part.header
            case "text":
                text = unpacked(part.text)
                self._texts[sha256(text).hexdigest()] = text
            case "manifest":
                self._lists.append(self._listed(part.manifest))
            case None:
                raise TaskFailed("a worker sent what this qserv does not know")

    def _listed(self, message: worker_pb2.RecalledManifest) -> Listed:
        manifest = message.manifest
        return Listed(
            release=manifest.release,
            table=manifest.table,
            version=manifest.version,
            transaction=message.transaction,
            entries=tuple(
                self._entries.get(entry.path)
                or self._entries.setdefault(entry.path, entry_from_proto(entry))
                for entry in manifest.entries
            ),
        )

    def held(self, endpoint: str) -> Held:
        if (header := self._header) is None:
            raise TaskFailed(f"the worker at {endpoint} told nothing")
        text = header.checkpoint
        where = f"the catalog of worker {header.worker_id}"
        return Held(
            worker=header.worker_id,
            cluster=header.cluster_id,
            checkpoint=decode(text, where) if text else None,
            read=self._read,
            lists=lambda: self._lists,
        )

    def _read(self, name: str) -> bytes:
        try:
            return self._texts[name]
        except KeyError:
            raise CorruptData(f"part {name} of the catalog is missing") from None
