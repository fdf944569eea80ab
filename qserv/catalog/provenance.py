"""Where rows come from: a load, and the input files that it reads."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """A load as the metadata remembers it from its beginning.

    Parameters
    ----------
    id
        Part of the name of every file that it makes.
    release, family
        What it loads into.
    who, pipeline
        Who loads, and name and version of what made the files.
    configuration, input_ids
        Hash of that pipeline's configuration, and what it read.
    tables
        The tables that it may load.
    replaced
        Those of them of which all or some goes when it commits.
    """

    id: str
    release: str
    family: str
    who: str
    pipeline: str
    configuration: str = ""
    input_ids: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contribution:
    """One input file of a load: where its rows came from.

    Parameters
    ----------
    table
        The table that the rows went to.
    source
        The file as the loader named it.
    sha256
        Of the whole input file, hexadecimal.
    rows
        Rows read from it.
    nulled, wrapped
        NaN turned into NULL; right ascensions wrapped into [0, 360).
    rejected
        Rows left out.
    number
        Unique in the cluster, and what `_source` says in its rows; 0: none was given.
    gone
        The first snapshot without its rows; 0 while they are live.
    """

    table: str
    source: str
    sha256: str
    rows: int
    nulled: int
    wrapped: int
    rejected: int = 0
    number: int = 0
    gone: int = 0


@dataclass(frozen=True, slots=True)
class Origin:
    """Which file of which load brought rows that are live.

    Parameters
    ----------
    source
        The file as its loader named it.
    load
        The load's id.
    snapshot
        The snapshot that made it visible.
    number
        Of the contribution.
    held
        The snapshot whose files hold the rows.
    """

    source: str
    load: str
    snapshot: int
    number: int = 0
    held: int = 0


@dataclass(frozen=True, slots=True)
class Input:
    """An input file of a load under way.

    Parameters
    ----------
    number
        What `_source` says in its rows, and the id of its contribution.
    table, source, sha256
        As in `Contribution`.
    read
        Whether the loader has told what it read from it.
    rows, nulled, wrapped, rejected
        As in `Contribution`, once it was read.
    """

    number: int
    table: str
    source: str
    sha256: str
    read: bool = False
    rows: int = 0
    nulled: int = 0
    wrapped: int = 0
    rejected: int = 0

    @property
    def contribution(self) -> Contribution:
        """What it brings."""
        return Contribution(
            table=self.table,
            source=self.source,
            sha256=self.sha256,
            rows=self.rows,
            nulled=self.nulled,
            wrapped=self.wrapped,
            rejected=self.rejected,
            number=self.number,
        )
