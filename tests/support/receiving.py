"""A worker's receiver over a directory, and what a load sends it."""

from hashlib import sha256

from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.ingest.receiver import Receiver
from qserv.storage import layout
from qserv.storage.layout import WorkerDirectory
from qserv.storage.manifests import ManifestStore
from qserv.wire.messages import entry_to_proto
from qserv.wire.v1 import common_pb2, worker_pb2

CHUNKS = (20, 21, 22)


def content(chunk, transaction="t1"):
    return f"rows of {chunk} by {transaction}".encode() * 1000


def entry(chunk, transaction="t1", data=None):
    data = content(chunk, transaction) if data is None else data
    return ManifestEntry(
        role=Role.BASE,
        chunk=chunk,
        path=layout.base_path("dr1", "Object", chunk, f"{transaction}-0"),
        rows=1,
        live_rows=1,
        size=len(data),
        sha256=sha256(data).hexdigest(),
    )


async def parts(made, data, transaction="t1"):
    header = worker_pb2.StageHeader(
        transaction=transaction,
        release="dr1",
        table="Object",
        entry=entry_to_proto(made),
    )
    yield worker_pb2.StagePart(header=header)
    for start in range(0, len(data), 7000):
        yield worker_pb2.StagePart(data=data[start : start + 7000])


def install_request(*entries, version=1, transaction="t1"):
    manifest = common_pb2.Manifest(
        release="dr1",
        table="Object",
        version=version,
        tree_version=1,
        entries=map(entry_to_proto, entries),
        chunks=CHUNKS,
    )
    return worker_pb2.InstallRequest(transaction=transaction, manifests=[manifest])


class Worker:
    """A receiver over a directory; made anew it is the worker after a restart."""

    def __init__(self, root):
        self.directory = WorkerDirectory(root)
        self.directory.data.mkdir(parents=True, exist_ok=True)
        self.manifests = ManifestStore(self.directory)
        self.receiver = Receiver(directory=self.directory, manifests=self.manifests)

    async def stage(self, chunk, transaction="t1", data=None):
        made = entry(chunk, transaction)
        data = content(chunk, transaction) if data is None else data
        return await self.receiver.stage(parts(made, data, transaction))

    async def load(self, transaction="t1", version=1, before=()):
        for chunk in CHUNKS:
            await self.stage(chunk, transaction)
        entries = [*before, *(entry(chunk, transaction) for chunk in CHUNKS)]
        await self.install(
            install_request(*entries, version=version, transaction=transaction)
        )

    async def install(self, request):
        async def requests():
            yield request

        return await self.receiver.install(requests())

    def files(self):
        data = self.directory.data
        return {str(p.relative_to(data)) for p in data.rglob("*") if p.is_file()}

    def staged(self):
        return [p for p in self.directory.staging.rglob("*") if p.is_file()]

    def held(self, version=1):
        return self.manifests.holding("dr1", "Object", version)
