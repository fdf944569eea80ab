"""The metadata as text: for backups, and for what workers remember of it.

A checkpoint lists parts. A part is some thousand rows of one table in the order of
their primary key, and is named by the sha256 of its text, so that two checkpoints share
the parts in which nothing changed. The text is the same whatever database it is from.
"""

import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa

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
from qserv.errors import CorruptData, InvalidRequest

FILES: Final = frozenset({"manifest_entry", "replica"})
"""Which files there are, and where: workers know it better."""
TRANSIENT: Final = frozenset(
    {"lease", "open_load", "staged_file", "open_input", "goal", "leaving"}
)
"""What is of no use once its czar is gone."""

_FORMAT: Final = "format"
_ROWS: Final = 10_000
_COUNTERS: Final = ("allocated", "contributions", "shards")
_MARGIN: Final = 1_000

Read = Callable[[str], bytes]
"""Returns the text of a part by its sha256."""


@dataclass(frozen=True, slots=True)
class PartName:
    """One part of a checkpoint: some rows of a table."""

    table: str
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the metadata was at one moment.

    Parameters
    ----------
    cluster
        Its id.
    epoch, revision
        Of the metadata; the greater pair is the newer one.
    formats
        The migrations that its tables had seen.
    made
        When, UTC.
    parts
        All rows, in an order in which they can be inserted.
    """

    cluster: str
    epoch: int
    revision: int
    formats: tuple[int, ...]
    made: str
    parts: tuple[PartName, ...]

    @property
    def age(self) -> tuple[int, int]:
        """What grows from one to the next."""
        return self.epoch, self.revision

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(part.rows for part in self.parts)

    def encode(self) -> bytes:
        """Return it as text, with a checksum in its last line."""
        body = json.dumps(asdict(self)).encode()
        return body + b"\n" + sha256(body).hexdigest().encode() + b"\n"


def decode(text: bytes, where: str) -> Checkpoint:
    """Read a checkpoint.

    Parameters
    ----------
    text
        As `Checkpoint.encode` returned it.
    where
        Names it in messages.

    Raises
    ------
    CorruptData
        If it does not match its checksum.
    """
    body, _, checksum = text.rstrip(b"\n").rpartition(b"\n")
    if sha256(body).hexdigest().encode() != checksum:
        raise CorruptData(f"{where} does not match its checksum")
    found = json.loads(body)
    parts = tuple(PartName(**part) for part in found["parts"])
    return Checkpoint(**found | {"formats": tuple(found["formats"]), "parts": parts})


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


def checked(part: PartName, text: bytes) -> bytes:
    """Return the text of a part.

    Raises
    ------
    CorruptData
        If it is another text.
    """
    if sha256(text).hexdigest() != part.sha256:
        raise CorruptData(f"{part.sha256[:16]}… of {part.table} has another content")
    return text


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
