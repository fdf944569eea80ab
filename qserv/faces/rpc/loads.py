"""Loads as messages, and back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from qserv.catalog.bounds import Ends
from qserv.catalog.loadhistory import PastLoad
from qserv.catalog.provenance import Contribution
from qserv.catalog.publication import HeldFile
from qserv.catalog.replacing import Replaced
from qserv.catalog.snapshot import EVERYWHERE, IndexShard, TableVersion
from qserv.czar.beginning import Beginning, Source
from qserv.czar.choosing import Lists, Placed
from qserv.czar.loads import Loads
from qserv.czar.members import Member
from qserv.czar.opening import Begun, Known
from qserv.czar.openload import Committed, OpenLoad, Progress
from qserv.ingest.events import StagedFile
from qserv.wire.messages import (
    bounds_from_proto,
    entry_from_proto,
    entry_to_proto,
    table_from_proto,
    table_to_proto,
    value_to_proto,
)
from qserv.wire.v1 import czar_pb2

_PAGE = 500
"""Files, loads or contributions of one message."""

Members = Mapping[str, Member]


def beginning(message: czar_pb2.BeginRequest) -> Beginning:
    """Read what a loader asks for."""
    return Beginning(
        release=message.release,
        tables=tuple(table_from_proto(table) for table in message.tables),
        family=message.family,
        replicas=message.replicas,
        overlap=message.overlap if message.HasField("overlap") else None,
        leaf_rows=message.leaf_rows if message.HasField("leaf_rows") else None,
        leaf_bytes=message.leaf_bytes if message.HasField("leaf_bytes") else None,
        who=message.who,
        pipeline=message.pipeline,
        configuration=message.configuration,
        input_ids=tuple(message.input_ids),
        inputs=tuple(
            Source(each.table, each.source, each.sha256.hex())
            for each in message.inputs
        ),
        fingerprint=message.fingerprint,
        dry_run=message.dry_run,
        replaces=tuple(
            Replaced(each.table, tuple(each.loads), tuple(each.kept), each.same_homes)
            for each in message.replaces
        ),
    )


def begun(value: Begun, members: Members, lease: float) -> czar_pb2.BeginReply:
    """Tell a loader what it loads into."""
    layout, family = value.target.layout, value.target.layout.existing
    tree = family.tree if family and layout.cut else None
    if value.placed is not None:
        tree = value.placed.family.tree
    return czar_pb2.BeginReply(
        transaction=value.transaction,
        overlap=layout.overlap,
        leaf_rows=layout.leaf_rows,
        leaf_bytes=layout.leaf_bytes,
        tree=() if tree is None else tree.chunks.tolist(),
        tables=[_existing(table, members) for table in value.target.existing],
        tree_version=family.tree_version if family else 0,
        release=value.target.release,
        definitions=map(table_to_proto, value.target.tables),
        inputs=map(_known, value.inputs),
        attempt=value.attempt,
        resumed=value.resumed,
        placed=value.placed is not None,
        snapshot=value.snapshot,
        lease=lease,
        wait=value.wait,
        replaced=[_replaced(each) for each in value.target.replaces if each.version],
        radii=value.target.radii,
    )


def _replaced(value: Replaced) -> czar_pb2.ReplacedTable:
    return czar_pb2.ReplacedTable(
        name=value.table,
        manifest_version=value.version,
        rows=value.rows,
        files=value.files,
        size=value.size,
    )


def _known(value: Known) -> czar_pb2.InputKnown:
    return czar_pb2.InputKnown(
        number=value.number,
        snapshot=value.snapshot,
        load=value.load,
        source=value.source,
    )


def committed(value: Committed, members: Members) -> czar_pb2.CommitReply:
    """Tell a loader what became of its commit."""
    return czar_pb2.CommitReply(
        snapshot=value.snapshot,
        newer=[_existing(table, members) for table in value.newer],
    )


def _existing(version: TableVersion, members: Members) -> czar_pb2.ExistingTable:
    return czar_pb2.ExistingTable(
        name=version.table.name,
        manifest_version=version.manifest_version,
        rows=version.rows,
        index=[_shard(shard, members) for shard in version.index],
    )


def _shard(shard: IndexShard, members: Members) -> czar_pb2.IndexShardLocation:
    return czar_pb2.IndexShardLocation(
        shard=shard.shard,
        low=value_to_proto(shard.low),
        high=value_to_proto(shard.high),
        workers=[
            _location(members[worker]) for worker in shard.workers if worker in members
        ],
    )


def _location(member: Member) -> czar_pb2.WorkerLocation:
    return czar_pb2.WorkerLocation(
        worker_id=member.id, endpoint=member.endpoint, disk_free=member.disk_free
    )


def placed(value: Placed, members: Members) -> czar_pb2.PlaceReply:
    """Tell a loader which workers take what."""
    lists = (*value.at.values(), *value.shards.values())
    workers = sorted({worker for holders in lists for worker in holders})
    position = {worker: at for at, worker in enumerate(workers)}

    def placements(chosen: Lists) -> list[czar_pb2.Placement]:
        return [
            czar_pb2.Placement(chunk=chunk, workers=[position[w] for w in holders])
            for chunk, holders in chosen.items()
        ]

    chunks = dict(value.at)
    everywhere = chunks.pop(EVERYWHERE)
    return czar_pb2.PlaceReply(
        workers=[_at(worker, members) for worker in workers],
        chunks=placements(chunks),
        index_shards=placements(value.shards),
        replicated=[position[worker] for worker in everywhere],
        first_index_shard=value.first_shard,
    )


def _at(worker: str, members: Members) -> czar_pb2.WorkerLocation:
    # Of a load that was placed before, a worker may not have come back yet.
    if worker in members:
        return _location(members[worker])
    return czar_pb2.WorkerLocation(worker_id=worker, disk_free=-1)


def contribution(message: czar_pb2.Contribution) -> Contribution:
    """Read what one input file gave."""
    return Contribution(
        table=message.table,
        source=message.source,
        sha256=message.sha256.hex(),
        rows=message.rows,
        nulled=message.nulled,
        wrapped=message.wrapped,
        rejected=message.rejected,
        number=message.number,
    )


def staged(message: czar_pb2.StagedFile) -> StagedFile:
    """Read which workers hold a file."""
    return StagedFile(
        table=message.table,
        entry=entry_from_proto(message.entry),
        workers=frozenset(message.worker_ids),
    )


def commit(
    message: czar_pb2.CommitRequest,
) -> tuple[dict[str, int], dict[str, dict[str, Ends | None]], dict[str, int]]:
    """Read what is to be committed: rows, bounds and versions by table."""
    bounds = {of.table: bounds_from_proto(of) for of in message.bounds}
    checked = {each.table: each.manifest_version for each in message.checked}
    return dict(message.rows), bounds, checked


def progress(message: czar_pb2.KeepRequest) -> Progress:
    """Read how far a loader is."""
    return Progress(
        phase=message.phase,
        table=message.table,
        rows=message.rows,
        total=message.total_rows,
        size=message.size,
        seconds=message.seconds,
    )


def pages(files: Sequence[StagedFile | HeldFile]) -> Iterator[czar_pb2.StagedReply]:
    """Tell which files workers hold."""
    rest = iter(files)
    while some := list(islice(rest, _PAGE)):
        yield czar_pb2.StagedReply(
            files=[
                czar_pb2.StagedFile(
                    table=file.table,
                    entry=entry_to_proto(file.entry),
                    worker_ids=sorted(file.workers),
                )
                for file in some
            ]
        )


def under_way(loads: Loads) -> list[czar_pb2.LoadDescription]:
    """Describe the loads under way."""
    return [_open(load, loads) for load in loads.registry.open.values()]


def _open(load: OpenLoad, loads: Loads) -> czar_pb2.LoadDescription:
    told = load.progress
    return czar_pb2.LoadDescription(
        id=load.id,
        release=load.target.release,
        family=load.target.layout.family,
        state=load.transaction.state,
        who=load.asked.who,
        pipeline=load.asked.pipeline,
        configuration=load.asked.configuration,
        input_ids=load.asked.input_ids,
        reason=load.transaction.reason,
        rows=load.rows,
        rejected=load.rejected,
        tables=load.transaction.tables,
        replaced=[r.table for r in load.target.replaces if r.version],
        attempt=load.transaction.attempt,
        silence=loads.registry.silence(load),
        expires=loads.registry.left(load),
        phase=told.phase,
        table=told.table,
        done=told.rows,
        total=told.total,
        rate=load.rate,
        left=-1 if load.left is None else load.left,
        files=len(load.transaction.files),
    )


def listed(past: Iterable[PastLoad], loads: Loads) -> Iterator[czar_pb2.ListLoadsReply]:
    """Describe loads, in pages: those under way as they are, others as they ended."""
    rest = iter(past)
    while some := list(islice(rest, _PAGE)):
        yield czar_pb2.ListLoadsReply(loads=[_described(each, loads) for each in some])


def _described(past: PastLoad, loads: Loads) -> czar_pb2.LoadDescription:
    if (load := loads.registry.open.get(past.id)) is not None:
        found = _open(load, loads)
        found.begun = past.begun
        return found
    return czar_pb2.LoadDescription(
        id=past.id,
        release=past.release,
        family=past.family,
        state=past.state,
        who=past.who,
        pipeline=past.pipeline,
        configuration=past.configuration,
        input_ids=past.input_ids,
        begun=past.begun,
        ended=past.ended,
        reason=past.reason,
        snapshot=past.snapshot or 0,
        rows=past.rows,
        rejected=past.rejected,
        tables=past.tables,
        replaced=past.replaced,
        again=past.again,
        left=-1,
    )


def brought(values: Iterable[Contribution]) -> Iterator[czar_pb2.ListLoadsReply]:
    """Tell what each file of a load brought, in pages."""
    rest = iter(values)
    while some := list(islice(rest, _PAGE)):
        yield czar_pb2.ListLoadsReply(
            contributions=[
                czar_pb2.Contribution(
                    table=each.table,
                    source=each.source,
                    sha256=bytes.fromhex(each.sha256),
                    rows=each.rows,
                    nulled=each.nulled,
                    wrapped=each.wrapped,
                    rejected=each.rejected,
                    number=each.number,
                    gone=each.gone,
                )
                for each in some
            ]
        )
