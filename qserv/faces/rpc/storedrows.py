"""The stored rows of a table as messages."""

from collections.abc import Iterator, Mapping
from itertools import islice

from qserv.catalog.storedrows import StoredRows
from qserv.czar.members import Member
from qserv.wire.messages import entry_to_proto, table_to_proto
from qserv.wire.v1 import czar_pb2

_PAGE = 500
"""Files, or contributions, of one message."""


def pages(
    value: StoredRows, members: Mapping[str, Member]
) -> Iterator[czar_pb2.ListStoredReply]:
    """Tell what there is, and who has it: those that are alive first."""
    held = {worker for file in value.files for worker in file.workers}
    there = sorted(held & members.keys(), key=lambda w: (not members[w].alive, w))
    position = {worker: at for at, worker in enumerate(there)}
    contributions, files = iter(value.contributions), iter(value.files)
    while True:
        brought = list(islice(contributions, _PAGE))
        some = list(islice(files, _PAGE))
        yield czar_pb2.ListStoredReply(
            release=value.release,
            table=table_to_proto(value.table),
            manifest_version=value.version,
            children=value.children,
            workers=[
                czar_pb2.WorkerLocation(
                    worker_id=worker, endpoint=members[worker].endpoint
                )
                for worker in there
            ],
            contributions=[
                czar_pb2.StoredContribution(
                    number=each.number,
                    source=each.source,
                    sha256=bytes.fromhex(each.sha256),
                    rows=each.rows,
                    load=each.load,
                )
                for each in brought
            ],
            files=[
                czar_pb2.HeldFile(
                    entry=entry_to_proto(each.entry),
                    workers=sorted(position[w] for w in each.workers if w in position),
                    load=each.load,
                )
                for each in some
            ],
        )
        if len(brought) < _PAGE and len(some) < _PAGE:
            return
