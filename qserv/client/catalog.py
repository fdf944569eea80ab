"""What a connection says of the tables and views of releases, and changes of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from qserv.client.tables import DroppedTables, ReleaseTables, named, tables_of
from qserv.client.views import ViewStatus, parted, view_of
from qserv.wire.v1 import czar_pb2 as pb
from qserv.wire.v1.czar_pb2_grpc import CzarStub

_Reply = TypeVar("_Reply")


class Catalog(ABC):
    """The part of a connection that is about tables and views."""

    _czar: CzarStub

    @abstractmethod
    def _call(
        self,
        method: Callable[..., _Reply],
        request: object,
        timeout: float | None = None,
    ) -> _Reply:
        """Call a method of the czar, and raise typed errors."""

    def tables(self, release: str, *, snapshot: int | None = None) -> ReleaseTables:
        """Return what the tables of a release are: columns, kinds, keys.

        Parameters
        ----------
        release
            Its name; a release that does not exist has no tables.
        snapshot
            Id of the snapshot whose tables they are; None: the newest.
        """
        request = pb.ListTablesRequest(release=release, snapshot=snapshot)
        return tables_of(self._call(self._czar.ListTables, request))

    def views(
        self, release: str = "", *, snapshot: int | None = None
    ) -> tuple[ViewStatus, ...]:
        """Return the views of a release, or of all.

        Parameters
        ----------
        release
            Its name; empty for all releases.
        snapshot
            Id of the snapshot whose views they are; None: the newest.
        """
        request = pb.ListViewsRequest(release=release, snapshot=snapshot)
        return tuple(map(view_of, self._call(self._czar.ListViews, request).views))

    def create_view(
        self, name: str, sql: str, *, description: str = "", replace: bool = False
    ) -> ViewStatus:
        """Make a view: queries read it as a table, and see the newest rows in it.

        Parameters
        ----------
        name
            ``release.view``, in a release that exists.
        sql
            The query that it stands for; a table without a schema is of its release.
        description
            What its rows are.
        replace
            Take the place of a view of that name.

        Raises
        ------
        UserError
            If the query cannot be answered; says where and why.
        Conflict
            If the name is taken, or a view that reads it could not be read with it.
        """
        release, view = parted(name)
        request = pb.CreateViewRequest(
            release=release,
            name=view,
            text=sql,
            description=description,
            replace=replace,
        )
        return view_of(self._call(self._czar.CreateView, request).view)

    def drop_view(self, name: str) -> int:
        """Drop a view; return the first snapshot without it.

        Parameters
        ----------
        name
            ``release.view``.

        Raises
        ------
        UnknownName
            If there is no such view.
        Conflict
            If another view reads it.
        """
        release, view = parted(name)
        request = pb.DropViewRequest(release=release, name=view)
        return self._call(self._czar.DropView, request).snapshot

    def drop_table(self, name: str, *, with_children: bool = False) -> DroppedTables:
        """Drop a table; older snapshots keep it, and its files may be loaded again.

        Parameters
        ----------
        name
            ``release.table``.
        with_children
            Drop the tables that name it as their director, too.

        Raises
        ------
        UnknownName
            If there is no such table.
        Conflict
            If other tables, views or open loads need it; names them.
        """
        release, table = named(name)
        request = pb.DropTableRequest(
            release=release, name=table, with_children=with_children
        )
        reply = self._call(self._czar.DropTable, request)
        return DroppedTables(reply.snapshot, tuple(reply.names))
