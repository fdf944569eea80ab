"""The rows of the tables that qserv fills itself, read from the metadata."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from qserv.catalog.system import CONTRIBUTIONS, LOADS, SEPARATOR
from qserv.catalog.tables import Column, DataType

Tables = Mapping[str, sa.Table]
Columns = Mapping[str, sa.ColumnElement[Any]]

_AT_A_TIME: Final = 5_000
"""Rows that are held at a time on their way."""
_LISTS: Final = frozenset({"input_ids", "tables", "replaced"})
"""Columns that the metadata keeps as JSON lists."""


def rows(
    connection: sa.Connection,
    tables: Tables,
    table: str,
    columns: Sequence[Column],
    snapshot: int,
) -> Iterator[list[list[Any]]]:
    """Read a system table, some rows at a time.

    Parameters
    ----------
    connection, tables
        Of the metadata.
    table
        The catalog's spelling.
    columns
        Those of its columns that are wanted.
    snapshot
        What a query reads: its rows are live, or not.

    Yields
    ------
    list of list
        The values of some rows, column by column.
    """
    values, chosen = _TABLES[table](tables, snapshot)
    chosen = chosen.add_columns(*(values[c.name].label(c.name) for c in columns))
    found = connection.execute(chosen, execution_options={"yield_per": _AT_A_TIME})
    readers = [_reader(column) for column in columns]
    for some in found.partitions():
        by_column = zip(*some, strict=True)
        yield [
            [read(value) for value in given]
            for read, given in zip(readers, by_column, strict=True)
        ]


def _reader(column: Column) -> Callable[[Any], Any]:
    """Return what makes a column's value of what the metadata keeps."""
    if column.name in _LISTS:
        return lambda value: SEPARATOR.join(json.loads(value))
    if column.datatype is DataType.TIMESTAMP:
        return _moment
    if column.datatype is DataType.BOOLEAN:
        return bool
    return lambda value: value


def _moment(value: str | None) -> datetime | None:
    if not value:
        return None
    return datetime.fromisoformat(value).astimezone(UTC).replace(tzinfo=None)


def _loads(tables: Tables, snapshot: int) -> tuple[Columns, sa.Select[Any]]:
    del snapshot
    loads, under_way, shown = tables["load"], tables["open_load"], tables["snapshot"]
    values = {
        "load_id": loads.c.id,
        "release": loads.c.release_name,
        "family": loads.c.family_name,
        "state": sa.func.coalesce(under_way.c.state, loads.c.state),
        "who": loads.c.who,
        "pipeline": loads.c.pipeline,
        "configuration": loads.c.configuration,
        "input_ids": loads.c.input_ids,
        "tables": loads.c.table_names,
        "replaced": loads.c.replaced,
        "begun": loads.c.begun,
        "ended": loads.c.ended,
        "reason": sa.func.coalesce(under_way.c.reason, loads.c.reason),
        "snapshot": shown.c.id,
        "rows_read": loads.c.total_rows,
        "rows_rejected": loads.c.rejected,
    }
    return values, (
        sa.select()
        .select_from(loads)
        .outerjoin(under_way, under_way.c.load_id == loads.c.id)
        .outerjoin(shown, shown.c.load_id == loads.c.id)
        .order_by(loads.c.begun, loads.c.id)
    )


def _contributions(tables: Tables, snapshot: int) -> tuple[Columns, sa.Select[Any]]:
    files, loads, shown = tables["contribution"], tables["load"], tables["snapshot"]
    definitions = tables["catalog_table"]
    there = sa.and_(
        shown.c.id <= snapshot,
        sa.or_(files.c.valid_to.is_(None), files.c.valid_to > snapshot),
    )
    values = {
        "number": files.c.id,
        "load_id": files.c.load_id,
        "release": loads.c.release_name,
        "table_name": definitions.c.name,
        "source": files.c.source,
        "sha256": files.c.sha256,
        "rows_read": files.c.total_rows,
        "rows_rejected": files.c.rejected,
        "nulled": files.c.nulled,
        "wrapped": files.c.wrapped,
        "snapshot": shown.c.id,
        "gone": files.c.valid_to,
        "live": sa.case((there, 1), else_=0),
    }
    return values, (
        sa.select()
        .select_from(files)
        .join(loads, loads.c.id == files.c.load_id)
        .join(definitions, definitions.c.id == files.c.table_id)
        .join(shown, shown.c.load_id == files.c.load_id)
        .order_by(files.c.id)
    )


_TABLES: Final = {LOADS.name: _loads, CONTRIBUTIONS.name: _contributions}
