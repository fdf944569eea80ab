"""A czar and workers for loads, over real gRPC, that keep all they get in memory."""

import hashlib
import io
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import grpc
import numpy as np
import pyarrow.parquet as pq

from qserv.catalog.snapshot import EVERYWHERE, Role
from qserv.errors import UnknownName, WorkerUnavailable
from qserv.ingest import events
from qserv.ingest.events import StagedFile
from qserv.ingest.transaction import Transaction, step
from qserv.wire.errors import TRAILER, error_to_proto
from qserv.wire.messages import (
    entry_from_proto,
    entry_to_proto,
    keys_from_proto,
    table_from_proto,
    value_to_proto,
)
from qserv.wire.v1 import czar_pb2, czar_pb2_grpc, worker_pb2, worker_pb2_grpc


class Worker(worker_pb2_grpc.WorkerServicer):
    """Takes files, unless `trouble` is "down" or "spoils"."""

    def __init__(self, name):
        self.name = name
        self.trouble = None
        self.files = {}
        self.largest_part = 0
        self.lookups = 0
        self.staged = 0
        self.sent = Counter()

    def Stage(self, parts, context):
        header, content = next(parts).header, b""
        self.staged += 1
        self.sent[header.entry.path] += 1
        for part in parts:
            self.largest_part = max(self.largest_part, len(part.data))
            content += part.data
        if self.trouble == "down":
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        if self.trouble == "slow":
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        if self.trouble == "spoils":
            content = content[:-1] + b"?"
        self.files[header.entry.path] = content
        digest = hashlib.sha256(content).digest()
        return worker_pb2.StageReply(size=len(content), sha256=digest)

    def LookupKeys(self, request, context):
        self.lookups += 1
        if self.trouble == "down":
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        known = {}
        for path, content in self.files.items():
            if f"{request.table}.index/{request.shards[0]}/" in path:
                rows = pq.read_table(io.BytesIO(content)).to_pydict()
                known.update(zip(rows["key"], rows["_healpix_29"], strict=True))
        asked = keys_from_proto(request.keys)
        return worker_pb2.LookupReply(homes=[known.get(key, -1) for key in asked])


class Czar(czar_pb2_grpc.CzarServicer):
    """Runs loads over the real state machine; a commit makes files live."""

    def __init__(self, workers):
        self.workers = workers  # (fake, WorkerLocation)
        self.tree = []
        self.live = {}
        self.tables = {}
        self.load = None
        self.begun = None
        self.contributions = []
        self.aborted = []
        self.calls = []
        self.begins = 0
        self.away = False
        self.gone = frozenset()
        self.restarts = 0
        self.reply = None
        self.kept = []
        self.contents = {}

    def Begin(self, request, context):
        if self.open and request.fingerprint == self.begun.fingerprint:
            return self.gone_on()
        self.begun = request
        self.pending = []
        self.load = Transaction(
            f"t{self.begins + 1}",
            request.release,
            tuple(t.name for t in request.tables),
        )
        self.begins += 1
        known = [self.known(each) for each in request.inputs]
        if known and all(each.snapshot for each in known):
            return czar_pb2.BeginReply(
                release=request.release, inputs=known, snapshot=42
            )
        overlap = request.overlap if request.HasField("overlap") else 60 / 3600
        self.reply = czar_pb2.BeginReply(
            transaction="" if request.dry_run else f"t{self.begins}",
            attempt=1,
            lease=6,
            inputs=known,
            overlap=overlap,
            leaf_rows=request.leaf_rows or 10**6,
            leaf_bytes=request.leaf_bytes or 2**30,
            tree=self.tree,
            release=request.release,
            definitions=request.tables,
            radii={
                t.name: overlap
                for t in map(table_from_proto, request.tables)
                if t.overlaps
            },
            tables=[
                self.existing(t.name) for t in request.tables if t.name in self.tables
            ],
        )
        return self.reply

    @property
    def open(self):
        """Whether the last load was begun, and neither committed nor aborted."""
        states = events.State.BEGUN, events.State.PLACED, events.State.CONTRIBUTING
        begun = self.reply is not None and self.reply.transaction
        return bool(begun) and self.load.state in states

    def ListLoads(self, request, context):
        known = {f"t{number + 1}": "committed" for number in range(self.begins)}
        if self.open:
            known[f"t{self.begins}"] = "contributing"
        if request.load not in known:
            refuse(context, UnknownName(f"there is no load {request.load}"))
        told = czar_pb2.LoadDescription(id=request.load, state=known[request.load])
        yield czar_pb2.ListLoadsReply(loads=[told])

    def gone_on(self):
        """Let another loader go on with the load that was left."""
        self.away = False
        self.reply.MergeFrom(
            czar_pb2.BeginReply(attempt=2, resumed=True, placed=bool(self.load.chunks))
        )
        self.reply.tree[:] = self.placed_tree
        return self.reply

    def known(self, given):
        """Say whether a file's content is live, and its number."""
        if snapshot := self.contents.get((given.table, given.sha256)):
            return czar_pb2.InputKnown(
                number=1, snapshot=snapshot, load="t1", source="there"
            )
        number = len(self.contents) + len(self.pending) + 100
        self.pending.append((given.table, given.sha256))
        return czar_pb2.InputKnown(number=number)

    def Keep(self, request, context):
        self.kept.append(request)
        return czar_pb2.KeepReply()

    def Staged(self, request, context):
        if self.restarts:
            self.restarts -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        files = [
            czar_pb2.StagedFile(
                table=f.table,
                entry=entry_to_proto(f.entry),
                worker_ids=sorted(f.workers),
            )
            for f in self.load.files.values()
        ]
        yield czar_pb2.StagedReply(files=files)

    def existing(self, name):
        shards = [
            f
            for f in self.live.values()
            if f.table == name and f.entry.role is Role.INDEX
        ]
        index = []
        for file in shards:
            low, high = file.entry.bounds["key"]
            at = [
                location
                for _, location in self.workers
                if location.worker_id in file.workers
            ]
            index.append(
                czar_pb2.IndexShardLocation(
                    shard=file.entry.chunk,
                    low=value_to_proto(low),
                    high=value_to_proto(high),
                    workers=at,
                )
            )
        return czar_pb2.ExistingTable(
            name=name, manifest_version=1, rows=self.tables[name], index=index
        )

    def Place(self, request, context):
        self.calls.append("place")
        self.placed_tree = list(request.tree) or list(self.tree)
        usable = [
            at
            for at, (_, location) in enumerate(self.workers)
            if location.worker_id not in request.avoid
            and not (request.renew and location.worker_id in self.gone)
        ]
        if len(usable) < 2:
            refuse(context, WorkerUnavailable("2 copies need two workers"))
        count = len(usable)
        first = sum(f.entry.role is Role.INDEX for f in self.live.values())
        chunks = [
            czar_pb2.Placement(
                chunk=chunk, workers=[usable[i % count], usable[(i + 1) % count]]
            )
            for i, chunk in enumerate(self.placed_tree)
        ]
        shards = [
            czar_pb2.Placement(chunk=first + i, workers=[usable[i % count]])
            for i in range(request.index_shards)
        ]
        names = [location.worker_id for _, location in self.workers]
        event = events.Place(
            {p.chunk: tuple(names[w] for w in p.workers) for p in chunks},
            tuple(names[at] for at in usable),
            {p.chunk: tuple(names[w] for w in p.workers) for p in shards},
        )
        if self.load.chunks:
            for placements, before in (
                (chunks, self.load.chunks),
                (shards, self.load.shards),
            ):
                for placed in placements:
                    kept = [names.index(w) for w in before[placed.chunk]]
                    placed.workers[:] = instead(kept, usable)
            self.load = replace(
                self.load,
                chunks={p.chunk: tuple(names[w] for w in p.workers) for p in chunks},
                replicated=event.replicated,
                shards={p.chunk: tuple(names[w] for w in p.workers) for p in shards},
            )
        else:
            self.load, _ = step(self.load, event)
        return czar_pb2.PlaceReply(
            workers=[location for _, location in self.workers],
            chunks=chunks,
            index_shards=shards,
            replicated=usable,
        )

    def Contribute(self, request, context):
        self.calls.append("contribute")
        self.contributions += request.contributions
        files = tuple(
            StagedFile(f.table, entry_from_proto(f.entry), frozenset(f.worker_ids))
            for f in request.files
        )
        self.load, _ = step(self.load, events.Contribute(files))
        return czar_pb2.ContributeReply()

    def Commit(self, request, context):
        if self.away:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        if any(file.workers <= self.gone for file in self.load.files.values()):
            refuse(context, WorkerUnavailable("nobody is alive that keeps a file"))
        self.load, _ = step(self.load, events.Commit(dict(request.rows)))
        self.live |= self.load.files
        self.contents |= dict.fromkeys(self.pending, 42)
        self.tree = self.placed_tree
        for table, rows in request.rows.items():
            self.tables[table] = self.tables.get(table, 0) + rows
        return czar_pb2.CommitReply(snapshot=42)

    def Abort(self, request, context):
        self.aborted.append(request.reason)
        self.load, _ = step(self.load, events.Abort(request.reason))
        return czar_pb2.AbortReply()

    def files(self, table, role):
        """Return the live files of a table: (entry, rows), the same on all holders."""
        found = []
        for path, file in sorted(self.live.items()):
            if (file.table, file.entry.role) != (table, role):
                continue
            copies = {
                fake.files[path]
                for fake, location in self.workers
                if location.worker_id in file.workers
            }
            (content,) = copies
            assert hashlib.sha256(content).hexdigest() == file.entry.sha256
            found.append((file.entry, pq.read_table(io.BytesIO(content))))
        return found

    def index(self, table):
        """Return key -> home of all live shards."""
        found = {}
        for _, rows in self.files(table, Role.INDEX):
            keys = rows["key"].to_numpy()
            assert np.all(np.diff(keys) > 0)
            found.update(
                zip(keys.tolist(), rows["_healpix_29"].to_pylist(), strict=True)
            )
        return found

    def copies(self, table):
        """Return the workers that hold a replicated table."""
        return {
            w
            for file in self.live.values()
            if file.table == table and file.entry.chunk == EVERYWHERE
            for w in file.workers
        }


def instead(placed, usable):
    """Put others in the places of workers that are not usable."""
    others = iter(at for at in usable if at not in placed)
    return [at if at in usable else next(others) for at in placed]


def refuse(context, error):
    """End a call with a typed error, as the servers do."""
    message = error_to_proto(error).SerializeToString()
    context.set_trailing_metadata(((TRAILER, message),))
    context.abort(grpc.StatusCode.UNAVAILABLE, error.text)


@contextmanager
def fake_cluster(count=2):
    """Start a czar and workers; give the czar, its endpoint and the workers."""
    servers, workers = [], []
    with ThreadPoolExecutor(8) as pool:
        for number in range(count):
            fake = Worker(f"w{number}")
            endpoint = _serve(
                pool, servers, worker_pb2_grpc.add_WorkerServicer_to_server, fake
            )
            location = czar_pb2.WorkerLocation(
                worker_id=fake.name, endpoint=endpoint, disk_free=-1
            )
            workers.append((fake, location))
        czar = Czar(workers)
        czar.endpoint = _serve(
            pool, servers, czar_pb2_grpc.add_CzarServicer_to_server, czar
        )
        try:
            yield czar
        finally:
            for server in servers:
                server.stop(None).wait()


def _serve(pool, servers, register, servicer):
    server = grpc.server(pool)
    register(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    servers.append(server)
    return f"127.0.0.1:{port}"
