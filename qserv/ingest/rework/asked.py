"""What a load is asked to read again of a live table, and what shall become of it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from qserv.catalog.tables import Table
from qserv.errors import Conflict
from qserv.ingest.inputs import InputFile, ReadOptions
from qserv.ingest.rejects import Named
from qserv.wire.messages import table_from_proto
from qserv.wire.v1 import czar_pb2 as pb


@dataclass(frozen=True, slots=True)
class Stored:
    """The own rows of a live table: what brought them, and the files that hold them.

    Parameters
    ----------
    release, table
        Whose they are.
    version
        Of the table's list of files.
    contributions
        What brought the rows; each says which load's files hold them.
    files
        Those of own rows.
    workers
        Who holds files, as these say.
    children
        Whether tables with rows name it as their director.
    """

    release: str
    table: Table
    version: int
    contributions: tuple[pb.StoredContribution, ...] = field(repr=False)
    files: tuple[pb.HeldFile, ...] = field(repr=False)
    workers: tuple[pb.WorkerLocation, ...]
    children: bool

    @staticmethod
    def of(pages: Collection[pb.ListStoredReply]) -> "Stored":
        """Put the czar's answer together."""
        first = next(iter(pages))
        return Stored(
            release=first.release,
            table=table_from_proto(first.table),
            version=first.manifest_version,
            contributions=tuple(c for page in pages for c in page.contributions),
            files=tuple(file for page in pages for file in page.files),
            workers=tuple(first.workers),
            children=first.children,
        )


@dataclass(frozen=True, slots=True)
class ValuesFile:
    """A file of keys and values of a column.

    Parameters
    ----------
    key
        The column of the table that the keys are of.
    file, options, sha256
        As of an input file.
    """

    key: str
    file: InputFile
    options: ReadOptions
    sha256: bytes


@dataclass(frozen=True, slots=True)
class AddedColumn:
    """A column that a table gets, behind its others.

    Parameters
    ----------
    table
        With the column.
    value
        An array of the one value that all rows get.
    values
        What says it row by row; None where nothing does.
    """

    table: Table
    value: pa.Array
    values: ValuesFile | None = None


@dataclass(frozen=True, slots=True)
class Rework:
    """What a load reads again of one table.

    Parameters
    ----------
    stored
        What there is.
    loads
        Whose files are read, and go when the load commits; none: all.
    gone
        Contributions whose rows are left out.
    column
        What is added; None: nothing.
    """

    stored: Stored
    loads: frozenset[str] = frozenset()
    gone: frozenset[int] = frozenset()
    column: AddedColumn | None = None

    @property
    def name(self) -> str:
        """The table's name in lower case."""
        return self.stored.table.name.lower()

    @property
    def watched(self) -> bool:
        """Whether keys that go must come again where they were."""
        return bool(self.gone) and self.stored.children

    def reads(self, load: str) -> bool:
        """Whether the files of a load are read."""
        return not self.loads or load in self.loads

    @property
    def kept(self) -> tuple[pb.StoredContribution, ...]:
        """The contributions whose rows come again, by number."""
        found = (c for c in self.stored.contributions if self.reads(c.load))
        return tuple(
            sorted(
                (each for each in found if each.number not in self.gone),
                key=lambda each: each.number,
            )
        )

    @property
    def rows(self) -> int:
        """The rows that come again."""
        return sum(each.rows for each in self.kept)

    @property
    def told(self) -> tuple[str, ...]:
        """What the load depends on beside the request, as texts."""
        if (column := self.column) is None:
            return (self.name, str(self.watched))
        how = column.values and (column.values.key, repr(column.values.options))
        return (self.name, repr(column.value.to_pylist()), repr(how))

    @property
    def input_ids(self) -> tuple[str, ...]:
        """What the load reads beside rows, for the history."""
        values = self.column and self.column.values
        return (f"{values.file.name} {values.sha256.hex()}",) if values else ()

    @property
    def named(self) -> Named:
        """The file of values as messages name it."""
        values, name = self.column and self.column.values, self.stored.table.name
        return Named(name, values.file.name if values else name, needed=True)

    @property
    def files(self) -> tuple[pb.HeldFile, ...]:
        """The files that are read: of others all rows go, and nobody asks where."""
        wanted = {each.load for each in self.kept}
        return tuple(
            file
            for file in self.stored.files
            if self.reads(file.load) and (self.watched or file.load in wanted)
        )

    @property
    def replacement(self) -> pb.Replacement:
        """What goes, as the czar is told."""
        return pb.Replacement(
            table=self.stored.table.name,
            loads=sorted(self.loads),
            kept=[each.number for each in self.kept],
            same_homes=self.watched,
        )


def check_versions(again: Iterable[Rework], begun: pb.BeginReply) -> None:
    """See that the rows which a load reads again are those that it replaces.

    Raises
    ------
    Conflict
        If a table changed before the load began.
    """
    versions = {each.name.lower(): each.manifest_version for each in begun.replaced}
    for each in again:
        if versions.get(each.name) != each.stored.version:
            raise Conflict(
                f"table {each.stored.release}.{each.stored.table.name} changed just "
                "now: run the same command again"
            )
