"""Rows of the metadata become the parts of a checkpoint, and rows again."""

import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa

from qserv.catalog.checkpoint import Checkpoint, PartName, Read, checked
from qserv.catalog.database import (
    Scripts,
    Tables,
    apply,
    batches,
    formats,
    migrate,
    now,
    reflected,
)
from qserv.errors import InvalidRequest

_FORMAT: Final = "format"
_ROWS: Final = 10_000
_COUNTERS: Final = ("allocated", "contributions", "shards")
_MARGIN: Final = 1_000


def take(
    connection: sa.Connection,
    tables: Tables,
    keep: Callable[[PartName, bytes], None],
    *,
    without: Collection[str] = (),
) -> Checkpoint:
    """Turn the metadata into text.

    Parameters
    ----------
    connection, tables
        Inside a transaction that sees one state.
    keep
        Is given each part and its text.
    without
        Names of tables to leave out.
    """
    left_out = {*without, _FORMAT}
    parts = []
    for name, table in tables.items():
        if name not in left_out:
            for part, text in _parts(connection, table):
                keep(part, text)
                parts.append(part)
    cluster = connection.execute(sa.select(tables["cluster"])).one()
    return Checkpoint(
        cluster=cluster.id,
        epoch=cluster.epoch,
        revision=cluster.revision,
        formats=tuple(sorted(formats(connection))),
        made=now(),
        parts=tuple(parts),
    )


def _parts(
    connection: sa.Connection, table: sa.Table
) -> Iterator[tuple[PartName, bytes]]:
    names = json.dumps([column.name for column in table.columns])
    rows = connection.execution_options(yield_per=_ROWS).execute(
        sa.select(table).order_by(*table.primary_key.columns)
    )
    for some in rows.partitions():
        lines = [names, *(json.dumps(tuple(row)) for row in some)]
        text = "\n".join(lines).encode()
        yield PartName(table.name, sha256(text).hexdigest(), len(some)), text


def fill(
    connection: sa.Connection,
    checkpoint: Checkpoint,
    read: Read,
    scripts: Scripts,
    *,
    seen: Callable[[PartName], None] = lambda _: None,
) -> None:
    """Make metadata of a checkpoint, of the newest format, in an empty database.

    Numbers that were given since the checkpoint are not given again: the epoch becomes
    the present second, the others grow by a thousand.

    Parameters
    ----------
    connection
        Inside a transaction.
    checkpoint, read
        What it is made of.
    scripts
        The migrations.
    seen
        Is told each part that is done.

    Raises
    ------
    InvalidRequest
        If a newer qserv wrote the checkpoint.
    CorruptData
        If a part does not match its name.
    """
    if newer := [n for n in checkpoint.formats if n > scripts[-1][0]]:
        raise InvalidRequest(
            f"this metadata has format {newer[-1]}, but this qserv knows "
            f"{scripts[-1][0]} at most; use the newer qserv"
        )
    for number, script in scripts:
        if number in checkpoint.formats:
            apply(connection, number, script)
    tables = reflected(connection)
    for part in checkpoint.parts:
        insert(connection, tables[part.table], checked(part, read(part.sha256)))
        seen(part)
    migrate(connection, scripts, "the checkpoint")
    _move_on(connection)


def insert(connection: sa.Connection, table: sa.Table, text: bytes) -> None:
    """Insert the rows of a part."""
    names, *lines = text.splitlines()
    columns: Sequence[str] = json.loads(names)
    rows: Iterator[dict[str, Any]] = (
        dict(zip(columns, json.loads(line), strict=True)) for line in lines
    )
    for some in batches(rows):
        connection.execute(sa.insert(table), some)


def _move_on(connection: sa.Connection) -> None:
    cluster = reflected(connection)["cluster"]
    row = connection.execute(sa.select(cluster)).mappings().one()
    values = {"epoch": max(row["epoch"] + 1, int(time.time()))}
    for counter in _COUNTERS:
        values[counter] = row[counter] + _MARGIN
    connection.execute(sa.update(cluster).values(values))
