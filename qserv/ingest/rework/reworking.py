"""Loads that read nothing but stored rows: a table is made anew, or gets a column."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from qserv.catalog.tables import Column, DataType, Table
from qserv.errors import InvalidRequest
from qserv.ingest import formats
from qserv.ingest import inputs as files
from qserv.ingest.bulk.execution import executor
from qserv.ingest.formats.values import convert
from qserv.ingest.inputs import DEFAULTS, ReadOptions
from qserv.ingest.loader import Loader
from qserv.ingest.peers import Czar
from qserv.ingest.progress import LoadProgress, LoadReport, Meter, Phase
from qserv.ingest.request import request_of
from qserv.ingest.rework.asked import AddedColumn, Rework, Stored, ValuesFile
from qserv.ingest.rework.values import pair
from qserv.ingest.settings import Settings

Listener = Callable[[LoadProgress], None]

_NONE: Final = Settings()


@dataclass(frozen=True, slots=True)
class Given:
    """Where the values of a new column come from.

    Parameters
    ----------
    value
        The same in every row; a text is read as in a CSV file. None for NULL.
    file
        A file with the key and the value of each row that has one; None for `value`.
    key
        The column that the keys are of; empty for the table's own.
    options
        How the file is read.
    """

    value: object = None
    file: str | Path | None = None
    key: str = ""
    options: ReadOptions = DEFAULTS


def rebuild(
    czar: str,
    release: str,
    table: str,
    *,
    settings: Settings = _NONE,
    progress: Listener | None = None,
) -> LoadReport:
    """Make a live table anew of its own rows: its files, index and overlap.

    Parameters
    ----------
    czar
        ``host:port`` of a czar.
    release, table
        Which.
    settings, progress
        As of `qserv.ingest.loader.load`; its overlap radius is what the table gets.

    Raises
    ------
    UnknownName
        If there is no such table.
    InvalidRequest
        If it has no overlap, but shall get another, or cannot have that one.
    Conflict
        If it changed meanwhile, or another load needs it.
    InternalError
        If stored rows are not what they should be.
    ClusterError
        If czar or workers fail.
    """
    there = Czar(czar)
    stored = Stored.of(there.stored(release, table))
    if settings.overlap is not None and not stored.table.overlaps:
        raise InvalidRequest(
            f"{stored.release}.{stored.table.name} is a {stored.table.kind} table, "
            "which has no overlap"
        )
    return _run(there, Rework(stored), stored.table, settings, Meter(progress))


def add_column(
    czar: str,
    release: str,
    table: str,
    column: Column,
    given: Given,
    *,
    settings: Settings = _NONE,
    progress: Listener | None = None,
) -> LoadReport:
    """Give a live table one more column, behind those that it has.

    Parameters
    ----------
    czar
        ``host:port`` of a czar.
    release, table
        Which.
    column
        What it gets.
    given
        The column's values.
    settings, progress
        As of `qserv.ingest.loader.load`.

    Raises
    ------
    InvalidRequest
        If the table has such a column, or cannot have it, or not that value.
    BadContribution
        If the file of values has keys twice, or that no row has; or cannot be read.
    Conflict
        If the table changed meanwhile, or views could not be read with the column.
    InternalError
        If stored rows are not what they should be.
    ClusterError
        If czar or workers fail.
    """
    there, meter = Czar(czar), Meter(progress)
    stored = Stored.of(there.stored(release, table))
    after = _with(stored, column)
    if given.file is None:
        added = AddedColumn(after, _value(column, given.value))
    else:
        nothing = pa.nulls(1, _value(column, None).type)
        meter.enter(Phase.CHECKING, after.name)
        added = AddedColumn(after, nothing, _values(after, column, given))
    return _run(there, Rework(stored, column=added), after, settings, meter)


def _run(
    czar: Czar, again: Rework, table: Table, settings: Settings, meter: Meter
) -> LoadReport:
    size = sum(file.entry.size for file in again.files)
    with executor(size=size, processes=settings.processes, dask=settings.dask) as pool:
        return Loader(
            czar=czar,
            request=request_of(again.stored.release, [table], (), [again], settings),
            again=[again],
            settings=settings,
            pool=pool,
            meter=meter,
        ).run()


def _with(stored: Stored, column: Column) -> Table:
    table = stored.table
    if (known := table.find(column.name)) is not None:
        raise InvalidRequest(
            f"table {stored.release}.{table.name} has a column {known.name} already: "
            "give another name; a command that was stopped may have added it"
        )
    if column.datatype is DataType.HUGEINT:
        raise InvalidRequest(f"column {column.name}: no table has a column of HUGEINT")
    return replace(table, columns=(*table.columns, column))


def _value(column: Column, value: object) -> pa.Array:
    """Return an array of the one value, in the column's type."""
    try:
        found = convert(pa.array([value]), column, texts=True)
    except (TypeError, OverflowError, pa.ArrowException) as error:
        raise InvalidRequest(
            f"column {column.name} cannot be {value!r}: {error}"
        ) from None
    if found.bad is not None:
        raise InvalidRequest(
            f"column {column.name} cannot be {value!r}: {found.why(0, str(value))}"
        )
    return found.array


def _values(table: Table, column: Column, given: Given) -> ValuesFile:
    key = _key(table, given.key)
    assert given.file is not None
    found = files.find(table.name, [given.file], given.options)
    if len(found) > 1:
        raise InvalidRequest(
            f"{given.file} are {len(found)} files; give one with all keys and values"
        )
    options = _only(given.options, found[0], pair(table, key, column.name).columns)
    return ValuesFile(key, found[0], options, files.fingerprint(found[0]))


def _key(table: Table, said: str) -> str:
    """Return the column that tells rows apart, or that was asked for."""
    name = said or table.indexed
    if name is None:
        raise InvalidRequest(
            f"table {table.name} has no key of its own: say by which column the file "
            "names rows (--key, key=)"
        )
    key = table.column(name)
    if not (key.datatype.is_integer or key.datatype is DataType.VARCHAR):
        raise InvalidRequest(
            f"rows cannot be named by {key.name}, which is {key.datatype}: take a "
            "column of whole numbers or texts"
        )
    return key.name


def _only(
    options: ReadOptions, file: files.InputFile, columns: Iterable[Column]
) -> ReadOptions:
    """Leave out what else the file has."""
    wanted = {column.name.lower() for column in columns}
    if not options.header and not options.names:
        return options
    others = [
        name
        for name in formats.schema_of(file, options).names
        if name.lower() not in wanted
    ]
    back = {new.lower(): old for old, new in options.rename.items()}
    ignored = {back.get(name.lower(), name) for name in others}
    return replace(options, ignore=options.ignore | ignored)
