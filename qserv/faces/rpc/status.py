"""What a czar says about itself: workers, releases, tables, running queries."""

from importlib.metadata import PackageNotFoundError, version

from qserv.catalog.snapshot import Release, Snapshot, TableVersion
from qserv.czar.members import Members
from qserv.czar.queries import Running
from qserv.czar.repair import Repair
from qserv.faces.rpc import placement
from qserv.wire.messages import columns_to_proto
from qserv.wire.v1 import czar_pb2


def own_version() -> str:
    """Return the version of this qserv; of a checkout that is not installed, none."""
    try:
        return version("qserv")
    except PackageNotFoundError:
        return "unknown"


def status(
    snapshot: Snapshot,
    members: Members,
    running: tuple[Running, ...],
    repair: Repair,
) -> czar_pb2.StatusReply:
    """Describe a cluster.

    Parameters
    ----------
    snapshot
        The newest.
    members
        The workers.
    running
        The queries that run now.
    repair
        Makes copies.
    """
    return czar_pb2.StatusReply(
        version=own_version(),
        snapshot=snapshot.id,
        workers=placement.workers(members, repair.counted),
        replication=placement.replication(repair, repair.counted),
        releases=[
            _release(snapshot, release) for release in snapshot.releases.values()
        ],
        queries=[
            czar_pb2.QueryStatus(
                query_id=query.id,
                text=query.text,
                state="running",
                seconds=query.seconds,
                chunks_done=query.tally.chunks_done,
                chunks=query.chunks,
            )
            for query in running
        ],
    )


def _release(snapshot: Snapshot, release: Release) -> czar_pb2.ReleaseStatus:
    family = snapshot.families[release.family]
    return czar_pb2.ReleaseStatus(
        name=release.name,
        state=release.state,
        family=release.family,
        chunks=len(family.tree),
        orders=family.tree.orders,
        overlap=family.overlap,
        tables=[_table(table) for _, table in sorted(release.tables.items())],
        views=[view.name for view in release.views.values()],
    )


def _table(version: TableVersion) -> czar_pb2.TableStatus:
    statistics = version.statistics
    return czar_pb2.TableStatus(
        name=version.table.name,
        kind=version.table.kind,
        rows=version.rows,
        size=int(statistics.size.sum()),
        chunks=int(statistics.chunks.size),
        columns=columns_to_proto(version.table.columns),
        chunk_ids=statistics.chunks.tolist(),
        chunk_rows=statistics.rows.tolist(),
        overlap=version.overlap,
    )
