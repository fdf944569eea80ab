"""Tables of a release as a client sees them."""

from dataclasses import dataclass, field

from qserv.catalog.tables import Table
from qserv.client.views import parted
from qserv.errors import UnknownName
from qserv.wire.messages import table_from_proto
from qserv.wire.v1 import czar_pb2 as pb


@dataclass(frozen=True, slots=True)
class ReleaseTables:
    """The tables of a release at one snapshot.

    Parameters
    ----------
    release
        In the catalog's spelling.
    snapshot
        Whose tables they are.
    overlap
        Overlap radius of its family, degrees.
    tables
        With columns, kinds and keys.
    """

    release: str
    snapshot: int
    overlap: float
    tables: tuple[Table, ...] = field(repr=False)

    def table(self, name: str) -> Table:
        """Return a table by its name, in any case.

        Raises
        ------
        UnknownName
            If there is none.
        """
        for table in self.tables:
            if table.name.lower() == name.lower():
                return table
        known = ", ".join(table.name for table in self.tables)
        raise UnknownName(
            f"there is no table {self.release}.{name}; there is {known or 'none'}"
        )


@dataclass(frozen=True, slots=True)
class DroppedTables:
    """Tables that were dropped.

    Parameters
    ----------
    snapshot
        The first without them.
    names
        In the catalog's spelling.
    """

    snapshot: int
    names: tuple[str, ...]


def named(name: str) -> tuple[str, str]:
    """Take ``release.table`` apart.

    Raises
    ------
    InvalidRequest
        If it is not of this form.
    """
    return parted(name, "RELEASE.TABLE, as in dr1.Source")


def tables_of(reply: pb.ListTablesReply) -> ReleaseTables:
    """Turn the czar's message into a value."""
    return ReleaseTables(
        release=reply.release,
        snapshot=reply.snapshot,
        overlap=reply.overlap,
        tables=tuple(map(table_from_proto, reply.tables)),
    )
