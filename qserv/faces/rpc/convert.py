"""Czar values as messages, and back."""

from collections.abc import Mapping

from qserv.catalog.publication import Contribution
from qserv.catalog.snapshot import EVERYWHERE, IndexShard, TableVersion
from qserv.catalog.views import View
from qserv.czar.beginning import Beginning, Target
from qserv.czar.installation import family_workers
from qserv.czar.loads import Placed
from qserv.czar.members import Member
from qserv.czar.results import LANGUAGE, Frame, Header, Progress, Request, Trailer
from qserv.czar.views import Described
from qserv.dialects.statements import Mode
from qserv.errors import UnsupportedQuery
from qserv.ingest.transaction import StagedFile
from qserv.wire.messages import (
    columns_to_proto,
    entry_from_proto,
    table_from_proto,
    table_to_proto,
    value_to_proto,
)
from qserv.wire.v1 import czar_pb2


def request(message: czar_pb2.QueryRequest, mode: Mode = Mode.RUN) -> Request:
    """Read what a client asks for.

    Raises
    ------
    UnsupportedQuery
        If it has parameters.
    """
    if message.parameters:
        raise UnsupportedQuery(
            "query parameters are not answered yet; write the values into the query"
        )
    return Request(
        text=message.text,
        language=message.language or LANGUAGE,
        snapshot=message.snapshot if message.HasField("snapshot") else None,
        default_release=message.default_release or None,
        max_rows=message.max_rows if message.HasField("max_rows") else None,
        query_id=message.query_id,
        batch_chunks=message.batch_chunks,
        mode=mode,
    )


def frame(part: Frame) -> czar_pb2.ResultFrame:
    """Turn one part of a result into its message."""
    match part:
        case bytes():
            return czar_pb2.ResultFrame(data=czar_pb2.ResultData(record_batch=part))
        case Header():
            return czar_pb2.ResultFrame(
                header=czar_pb2.ResultHeader(
                    schema=part.schema,
                    query_id=part.query_id,
                    release=part.release,
                    snapshot=part.snapshot,
                    chunks=part.chunks,
                    chunks_total=part.chunks_total,
                )
            )
        case Progress():
            return czar_pb2.ResultFrame(
                progress=czar_pb2.ResultProgress(
                    chunks_done=part.chunks_done, chunks=part.chunks, rows=part.rows
                )
            )
        case Trailer():
            return czar_pb2.ResultFrame(
                trailer=czar_pb2.ResultTrailer(
                    rows=part.rows,
                    overflow=part.overflow,
                    warnings=part.warnings,
                    microseconds=part.microseconds,
                    bytes_scanned=part.bytes_scanned,
                    digest=part.digest,
                    microseconds_by_step=part.steps,
                    attempts=part.attempts,
                )
            )


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
    )


def begun(
    number: str, goal: Target, members: Mapping[str, Member]
) -> czar_pb2.BeginReply:
    """Tell a loader what it loads into."""
    layout = goal.layout
    return czar_pb2.BeginReply(
        transaction=number,
        overlap=layout.overlap,
        leaf_rows=layout.leaf_rows,
        leaf_bytes=layout.leaf_bytes,
        tree=layout.existing.tree.chunks.tolist()
        if layout.existing and layout.cut
        else (),
        tables=[_existing(table, members) for table in goal.existing],
        tree_version=layout.existing.tree_version if layout.existing else 0,
        release=goal.release,
        definitions=map(table_to_proto, goal.tables),
    )


def _existing(
    version: TableVersion, members: Mapping[str, Member]
) -> czar_pb2.ExistingTable:
    return czar_pb2.ExistingTable(
        name=version.table.name,
        manifest_version=version.manifest_version,
        rows=version.rows,
        index=[_shard(shard, members) for shard in version.index],
    )


def _shard(
    shard: IndexShard, members: Mapping[str, Member]
) -> czar_pb2.IndexShardLocation:
    return czar_pb2.IndexShardLocation(
        shard=shard.shard,
        low=value_to_proto(shard.low),
        high=value_to_proto(shard.high),
        workers=[
            _location(members[worker]) for worker in shard.workers if worker in members
        ],
    )


def _location(member: Member) -> czar_pb2.WorkerLocation:
    return czar_pb2.WorkerLocation(worker_id=member.id, endpoint=member.endpoint)


def placed(value: Placed, members: Mapping[str, Member]) -> czar_pb2.PlaceReply:
    """Tell a loader which workers take what."""
    workers = family_workers(value.family)
    at = {worker: position for position, worker in enumerate(workers)}

    def placements(
        chosen: Mapping[int, tuple[str, ...]],
    ) -> list[czar_pb2.Placement]:
        return [
            czar_pb2.Placement(chunk=chunk, workers=[at[w] for w in holders])
            for chunk, holders in chosen.items()
        ]

    replicas = dict(value.family.replicas)
    everywhere = replicas.pop(EVERYWHERE)
    return czar_pb2.PlaceReply(
        workers=[_location(members[worker]) for worker in workers],
        chunks=placements(replicas),
        index_shards=placements(value.shards),
        replicated=[at[worker] for worker in everywhere],
        first_index_shard=value.first_shard,
    )


def contribution(message: czar_pb2.Contribution) -> Contribution:
    """Read what one input file gave."""
    return Contribution(
        table=message.table,
        source=message.source,
        sha256=message.sha256.hex(),
        rows=message.rows,
        nulled=message.nulled,
        wrapped=message.wrapped,
    )


def staged(message: czar_pb2.StagedFile) -> StagedFile:
    """Read which workers hold a file."""
    return StagedFile(
        table=message.table,
        entry=entry_from_proto(message.entry),
        workers=frozenset(message.worker_ids),
    )


def view(message: czar_pb2.CreateViewRequest) -> View:
    """Read what a view is to be."""
    return View(message.name, message.text, message.description)


def described(value: Described) -> czar_pb2.ViewDescription:
    """Turn a view and what it shows into its message."""
    return czar_pb2.ViewDescription(
        release=value.release,
        name=value.view.name,
        text=value.view.text,
        description=value.view.description,
        columns=columns_to_proto(value.columns),
        trouble=value.trouble,
        since=value.view.since,
    )
