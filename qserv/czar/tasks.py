"""Makes the task of a fragment: what all workers that run a part of it get alike."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from qserv.catalog.snapshot import EVERYWHERE, Snapshot
from qserv.czar.exchange import Share
from qserv.czar.members import Member
from qserv.czar.preparation import Work
from qserv.errors import InternalError
from qserv.plan.plan import (
    Extent,
    Fragment,
    Route,
    ScanClass,
    ScanSource,
    Sharing,
    stage_name,
)
from qserv.wire.codec import arrow_schema, encode_schema
from qserv.wire.messages import source_to_proto, value_to_proto
from qserv.wire.v1 import common_pb2, worker_pb2

_SCAN_CLASS: Final = {
    ScanClass.INTERACTIVE: worker_pb2.SCAN_CLASS_INTERACTIVE,
    ScanClass.SCAN: worker_pb2.SCAN_CLASS_SCAN,
}


def template(
    work: Work,
    number: int,
    *,
    query_id: str,
    epoch: int,
    limit: int | None,
    buckets: Iterable[worker_pb2.BucketInput] = (),
) -> worker_pb2.Task:
    """Return the task of a fragment, without attempt, chunks and side tables.

    Parameters
    ----------
    work, number
        The query, and the fragment's place in its plan.
    query_id, epoch
        Of the query and of this czar.
    limit
        Rows after which it may stop.
    buckets
        Where the rows of its bucket inputs are.
    """
    sent = fragment(work, number)
    return worker_pb2.Task(
        query_id=query_id,
        stage=number,
        input_stages=[each.stage for each in sent.inputs],
        czar_epoch=epoch,
        snapshot=work.snapshot.id,
        sql=sent.sql,
        parameters=[value_to_proto(value) for value in sent.parameters],
        sources=[_source(source, work.snapshot) for source in sent.sources],
        schema=encode_schema(arrow_schema(sent.columns)),
        scan_class=_SCAN_CLASS[work.plan.scan_class],
        batch_chunks=work.request.batch_chunks,
        limit=limit,
        bucket_inputs=buckets,
        spool=_spool(sent),
    )


def bucket_input(
    work: Work, number: int, shares: Iterable[Share], members: Mapping[str, Member]
) -> worker_pb2.BucketInput:
    """Return where the rows of a spooled stage are, for those that read its buckets."""
    return worker_pb2.BucketInput(
        name=stage_name(number),
        stage=number,
        schema=encode_schema(arrow_schema(fragment(work, number).columns)),
        shares=[
            worker_pb2.SpoolShare(
                peer=worker_pb2.Peer(
                    worker_id=share.worker, endpoint=members[share.worker].endpoint
                ),
                attempt=share.attempt,
                batches=share.batches,
            )
            for share in shares
        ],
    )


def fragment(work: Work, number: int) -> Fragment:
    """Return the fragment of that number."""
    sent = work.plan.stages[number]
    if not isinstance(sent, Fragment):
        raise InternalError(f"stage {number} is no fragment")
    return sent


def shared(sent: Fragment, sharing: Sharing) -> list[int]:
    """Return the numbers of the inputs that are shared in this way."""
    return [each.stage for each in sent.inputs if each.sharing is sharing]


def replicas(
    sent: Fragment, route: Route, snapshot: Snapshot, alive: Collection[str]
) -> Mapping[int, tuple[str, ...]]:
    """Return the workers that can run each chunk of a fragment, preferred first."""
    copies = [
        snapshot.family(source.release).replicas[EVERYWHERE]
        for source in sent.sources
        if source.extent is Extent.COPY
    ]
    able = _common(copies or [tuple(sorted(alive))])
    chunks = route.chunks.tolist()
    if sent.family is None:
        return dict.fromkeys([EVERYWHERE, *chunks], able)
    placed = snapshot.families[sent.family].replicas
    if set(able).issuperset(alive):
        return placed
    # Where nobody holds all, whoever is asked says what is missing.
    known = {chunk: placed.get(chunk, ()) for chunk in chunks}
    return {chunk: _common([held, able]) or held for chunk, held in known.items()}


def _common(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the workers that are in all lists, in the order of the first."""
    common = set(lists[0]).intersection(*lists[1:])
    return tuple(worker for worker in lists[0] if worker in common)


def _spool(sent: Fragment) -> worker_pb2.Spool | None:
    if sent.spool is None:
        return None
    return worker_pb2.Spool(keys=sent.spool.keys, buckets=sent.spool.buckets)


def _source(source: ScanSource, snapshot: Snapshot) -> common_pb2.ScanSource:
    family = snapshot.family(source.release)
    return source_to_proto(source, family=family.name, tree_version=family.tree_version)
