"""Changes of live tables that read their rows again: visible whole, or not at all."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qserv.catalog.tables import Column, DataType
from qserv.client.catalog import Catalog
from qserv.client.tables import named
from qserv.errors import InvalidRequest

if TYPE_CHECKING:
    from qserv.client.loading import LoadProgress, LoadReport


class TableWorks(Catalog):
    """The part of a connection that changes tables which have rows."""

    endpoint: str

    @abstractmethod
    def _need_open(self) -> None:
        """Raise `InvalidRequest` if the connection is closed."""

    def add_column(
        self,
        name: str,
        column: str,
        datatype: str,
        *,
        default: object = None,
        values: str | Path | None = None,
        key: str = "",
        unit: str = "",
        ucd: str = "",
        description: str = "",
        reading: "Mapping[str, Any] | None" = None,
        progress: "Callable[[LoadProgress], None] | None" = None,
        **settings: Any,
    ) -> "LoadReport":
        """Give a live table one more column, behind those that it has.

        Parameters
        ----------
        name
            ``release.table``.
        column, datatype
            The column's name, and its type as ADQL names it, such as ``"DOUBLE"``.
        default
            Its value in every row; None for NULL.
        values
            A file with the key and the value of rows; others get NULL. Its columns are
            found by their names, further ones are left out.
        key
            The column that the keys in the file are of; empty for the director's key
            or the child's id.
        unit, ucd, description
            What the values are.
        reading
            How the file is read, as of `Connection.load`.
        progress
            Called as the work gets on.
        **settings
            As of `Connection.load`: ``who``, ``pipeline``, ``configuration``,
            ``input_ids``, ``rejects``, ``dry_run``, ``processes``, ``dask``,
            ``scratch``.

        Returns
        -------
        LoadReport
            The rows that have it, and the snapshot that shows it.

        Raises
        ------
        InvalidRequest
            If the table has such a column, or cannot have it, or not that value.
        BadContribution
            If the file has keys twice, or that no row has; or cannot be read.
        Conflict
            If the table changed meanwhile, another load needs it, or a view could not
            be read any more.
        """
        from qserv.client.loading import chosen, signed
        from qserv.ingest.inputs import read_options
        from qserv.ingest.rework.reworking import Given, add_column

        self._need_open()
        if default is not None and values is not None:
            raise InvalidRequest(
                "a column gets one value, or those of a file: not both"
            )
        release, table = named(name)
        given = Given(default, values, key, read_options(reading or {}))
        made = Column(column, type_of(datatype), unit, ucd, description)
        return add_column(
            self.endpoint,
            release,
            table,
            made,
            given,
            settings=signed(chosen(settings)),
            progress=progress,
        )

    def rebuild_table(
        self,
        name: str,
        *,
        overlap: float | None = None,
        progress: "Callable[[LoadProgress], None] | None" = None,
        **settings: Any,
    ) -> "LoadReport":
        """Make a live table anew of its own rows: its files, index and overlap.

        Parameters
        ----------
        name
            ``release.table``.
        overlap
            Its new radius, degrees; None: as it is. Older snapshots keep theirs.
        progress
            Called as the work gets on.
        **settings
            As of `add_column`.

        Returns
        -------
        LoadReport
            The rows that were read again, and the snapshot that shows them.

        Raises
        ------
        UnknownName
            If there is no such table.
        InvalidRequest
            If it has no overlap, or the family's chunks are too small for that one.
        Conflict
            If it changed meanwhile, or another load needs it.
        """
        from qserv.client.loading import chosen, signed
        from qserv.ingest.rework.reworking import rebuild

        self._need_open()
        release, table = named(name)
        return rebuild(
            self.endpoint,
            release,
            table,
            settings=signed(chosen(settings | {"overlap": overlap})),
            progress=progress,
        )


def type_of(name: str) -> DataType:
    """Return a type by its name, in any case.

    Raises
    ------
    InvalidRequest
        If there is none; lists those that are.
    """
    known = [each for each in DataType if each is not DataType.HUGEINT]
    if name.upper() not in known:
        raise InvalidRequest(f"there is no type {name}; there are {', '.join(known)}")
    return DataType(name.upper())
