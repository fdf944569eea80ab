"""What a cluster says about itself: workers, releases, tables, running queries."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from qserv.catalog.tables import Column
from qserv.client.loads import LoadStatus, load_of
from qserv.client.placement import (
    Replication,
    WorkerStatus,
    replication_of,
    worker_of,
)
from qserv.wire.messages import columns_from_proto
from qserv.wire.v1 import czar_pb2 as pb


@dataclass(frozen=True, slots=True, eq=False)
class TableStatus:
    """A table of a release.

    Parameters
    ----------
    name, kind
        As the catalog has them.
    rows, size
        Live rows; bytes of one copy of its files.
    chunks
        Chunks with own rows.
    columns
        Its columns.
    chunk_ids, chunk_rows
        Aligned: the chunks with own rows, and how many, int64.
    overlap
        Its overlap radius, degrees; 0 where it has none.
    """

    name: str
    kind: str
    rows: int
    size: int
    chunks: int
    columns: tuple[Column, ...] = field(repr=False)
    chunk_ids: npt.NDArray[np.int64] = field(repr=False)
    chunk_rows: npt.NDArray[np.int64] = field(repr=False)
    overlap: float = 0.0


@dataclass(frozen=True, slots=True)
class ReleaseStatus:
    """A release: `chunks` leaves of its tree; `overlap` of new tables in degrees.

    Of its `views` it says the names; `Connection.views` describes them.
    """

    name: str
    state: str
    family: str
    chunks: int
    orders: tuple[int, ...]
    overlap: float
    tables: tuple[TableStatus, ...]
    views: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueryStatus:
    """A query that runs now."""

    id: str
    text: str
    state: str
    seconds: float
    chunks_done: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Status:
    """A cluster at one moment; `trouble` says why nothing is published, if so."""

    version: str
    snapshot: int
    workers: tuple[WorkerStatus, ...]
    releases: tuple[ReleaseStatus, ...]
    queries: tuple[QueryStatus, ...]
    loads: tuple[LoadStatus, ...] = ()
    replication: Replication = field(default_factory=Replication)
    trouble: str = ""

    def find(self, release: str, table: str) -> TableStatus | None:
        """Return a table by the names of its release and its own, in any case."""
        for found in self.releases:
            for each in found.tables:
                if (found.name.lower(), each.name.lower()) == (
                    release.lower(),
                    table.lower(),
                ):
                    return each
        return None


def status_of(reply: pb.StatusReply) -> Status:
    """Turn the czar's message into values."""
    return Status(
        version=reply.version,
        snapshot=reply.snapshot,
        workers=tuple(map(worker_of, reply.workers)),
        releases=tuple(_release(release) for release in reply.releases),
        queries=tuple(_query(query) for query in reply.queries),
        loads=tuple(map(load_of, reply.loads)),
        replication=replication_of(reply.replication),
        trouble=reply.trouble,
    )


def _release(release: pb.ReleaseStatus) -> ReleaseStatus:
    return ReleaseStatus(
        name=release.name,
        state=release.state,
        family=release.family,
        chunks=release.chunks,
        orders=tuple(release.orders),
        overlap=release.overlap,
        tables=tuple(_table(table) for table in release.tables),
        views=tuple(release.views),
    )


def _table(table: pb.TableStatus) -> TableStatus:
    return TableStatus(
        name=table.name,
        kind=table.kind,
        rows=table.rows,
        size=table.size,
        chunks=table.chunks,
        columns=columns_from_proto(table.columns),
        chunk_ids=np.array(table.chunk_ids, dtype=np.int64),
        chunk_rows=np.array(table.chunk_rows, dtype=np.int64),
        overlap=table.overlap,
    )


def _query(query: pb.QueryStatus) -> QueryStatus:
    return QueryStatus(
        id=query.query_id,
        text=query.text,
        state=query.state,
        seconds=query.seconds,
        chunks_done=query.chunks_done,
        chunks=query.chunks,
    )
