"""What a load begins with, and the mark by which the same load is known again."""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version

from qserv.catalog.tables import Table
from qserv.ingest.gathering import Input
from qserv.ingest.rework.asked import Rework
from qserv.ingest.settings import Settings
from qserv.wire.messages import table_to_proto
from qserv.wire.v1 import czar_pb2 as pb


def request_of(
    release: str,
    definitions: Sequence[Table],
    inputs: Sequence[Input],
    again: Sequence[Rework],
    settings: Settings,
) -> pb.BeginRequest:
    """Return what a load begins with."""
    spelled = {table.name.lower(): table.name for table in definitions}
    filled = dict.fromkeys(spelled[each.table] for each in inputs)
    request = pb.BeginRequest(
        release=release,
        tables=[table_to_proto(table) for table in definitions],
        family=settings.family or "",
        replicas=settings.replicas or 0,
        overlap=settings.overlap,
        leaf_rows=settings.leaf_rows,
        leaf_bytes=settings.leaf_bytes,
        who=settings.who,
        pipeline=settings.pipeline,
        configuration=settings.configuration,
        input_ids=[*settings.input_ids, *(i for each in again for i in each.input_ids)],
        inputs=[
            pb.InputFile(
                table=spelled[each.table],
                source=each.file.name,
                sha256=each.sha256,
                size=each.file.size,
            )
            for each in inputs
        ],
        replaces=[
            *(pb.Replacement(table=name) for name in filled if settings.replace),
            *(each.replacement for each in again),
        ],
    )
    request.fingerprint = _fingerprint(request, inputs, again, settings)
    request.dry_run = settings.dry_run
    return request


def _fingerprint(
    request: pb.BeginRequest,
    inputs: Sequence[Input],
    again: Sequence[Rework],
    settings: Settings,
) -> str:
    """Return a hash of all that decides what a load makes."""
    digest = hashlib.sha256(request.SerializeToString(deterministic=True))
    for more in (
        version("qserv"),
        version("pyarrow"),
        *(repr(each.options) for each in inputs),
        *(text for each in again for text in each.told),
        str(settings.max_rejects),
    ):
        digest.update(b"\0" + more.encode())
    return digest.hexdigest()
