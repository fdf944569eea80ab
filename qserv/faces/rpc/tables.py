"""What the tables of a release are, as messages."""

from qserv.catalog import system
from qserv.catalog.snapshot import Snapshot
from qserv.wire.messages import table_to_proto
from qserv.wire.v1 import czar_pb2


def listed(snapshot: Snapshot, release: str) -> czar_pb2.ListTablesReply:
    """Describe the tables of a release; one that does not exist has none.

    Parameters
    ----------
    snapshot
        Whose tables they are.
    release
        Its name, in any case.
    """
    found = snapshot.releases.get(release.lower())
    if system.is_system(release):
        stored = [] if found is None else [v.table for v in found.tables.values()]
        own = map(table_to_proto, (*system.TABLES.values(), *stored))
        return czar_pb2.ListTablesReply(
            release=system.RELEASE, snapshot=snapshot.id, tables=own
        )
    if found is None:
        return czar_pb2.ListTablesReply(release=release, snapshot=snapshot.id)
    return czar_pb2.ListTablesReply(
        release=found.name,
        snapshot=snapshot.id,
        tables=[table_to_proto(version.table) for version in found.tables.values()],
        overlap=snapshot.families[found.family].overlap,
    )
