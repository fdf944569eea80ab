"""The loads under way in the metadata: a czar that restarts goes on with them.

A load's request, placement and files are written before its loader is answered, each
once: what a call adds is inserted, what is there already stays. When a load ends, all
of it goes; its history (`qserv.catalog.loadhistory`) stays.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from qserv.catalog.counters import reserve
from qserv.catalog.database import integer, now
from qserv.catalog.entryrows import entry_of, values_of
from qserv.catalog.provenance import Input, Load
from qserv.catalog.publication import HeldFile

Tables = Mapping[str, sa.Table]


@dataclass(frozen=True, slots=True)
class Kept:
    """A load under way as the metadata keeps it.

    Parameters
    ----------
    id, state, attempt, fingerprint
        As its czar knows them.
    request, placement, commit
        What the loader asked for and where its files go, as JSON values; None where
        the load is not so far.
    told
        Versions of the tables that were live when it began: what its loader compares
        new keys with.
    version
        Number of the manifests of its commit.
    reason
        Why its last commit did not succeed.
    heard
        When its loader gave a sign of life, to within some seconds.
    inputs, files
        What it reads, and what workers hold of it.
    """

    id: str
    state: str
    attempt: int
    fingerprint: str
    request: Any
    told: Mapping[str, int]
    placement: Any = None
    commit: Any = None
    version: int | None = None
    reason: str = ""
    heard: str = ""
    inputs: tuple[Input, ...] = ()
    files: tuple[HeldFile, ...] = field(default=(), repr=False)


def remember(connection: sa.Connection, tables: Tables, load: Load) -> None:
    """Write down for ever that a load has begun."""
    connection.execute(
        sa.insert(tables["load"]).values(
            id=load.id,
            release_name=load.release,
            family_name=load.family,
            state="begun",
            who=load.who,
            pipeline=load.pipeline,
            begun=now(),
            reason="",
            configuration=load.configuration,
            input_ids=json.dumps(load.input_ids),
            table_names=json.dumps(load.tables),
            replaced=json.dumps(load.replaced),
        )
    )


def is_committed(connection: sa.Connection, tables: Tables, load: str) -> bool:
    """Say whether a load is committed."""
    loads = tables["load"].c
    known = sa.select(loads.id).where(loads.id == load, loads.state == "committed")
    return connection.execute(known).first() is not None


def begin(
    connection: sa.Connection, tables: Tables, load: Load, kept: Kept
) -> tuple[Input, ...]:
    """Write down a load that begins; return its inputs with their numbers."""
    remember(connection, tables, load)
    connection.execute(
        sa.insert(tables["open_load"]).values(
            load_id=kept.id,
            state=kept.state,
            attempt=kept.attempt,
            fingerprint=kept.fingerprint,
            request=json.dumps(kept.request),
            told=json.dumps(dict(kept.told)),
            reason="",
            heard=now(),
        )
    )
    return _add_inputs(connection, tables, load.id, kept.inputs)


def _add_inputs(
    connection: sa.Connection, tables: Tables, load: str, inputs: Sequence[Input]
) -> tuple[Input, ...]:
    """Give input files their numbers and write them down; return them."""
    first = reserve(connection, tables, "contributions", len(inputs)) + 1
    numbered = tuple(
        Input(
            number=number,
            table=each.table,
            source=each.source,
            sha256=each.sha256,
            read=each.read,
            rows=each.rows,
            nulled=each.nulled,
            wrapped=each.wrapped,
            rejected=each.rejected,
        )
        for number, each in enumerate(inputs, first)
    )
    if numbered:
        connection.execute(
            sa.insert(tables["open_input"]),
            [
                {
                    "load_id": load,
                    "number": each.number,
                    "table_name": each.table,
                    "source": each.source,
                    "sha256": each.sha256,
                    **_counts(each),
                }
                for each in numbered
            ],
        )
    return numbered


def change(connection: sa.Connection, tables: Tables, load: str, **values: Any) -> None:
    """Change what is kept of a load: columns of ``open_load``."""
    loads = tables["open_load"]
    for name in ("placement", "commit_request"):
        if values.get(name) is not None:
            values[name] = json.dumps(values[name])
    connection.execute(
        sa.update(loads).where(loads.c.load_id == load).values(heard=now(), **values)
    )


def _keep_files(
    connection: sa.Connection,
    tables: Tables,
    load: str,
    files: Iterable[HeldFile],
    known: Collection[str],
) -> None:
    """Write down files that workers hold; of `known` paths only who holds them."""
    staged = tables["staged_file"]
    fresh, again = [], []
    for file in files:
        workers = json.dumps(sorted(file.workers))
        if file.entry.path in known:
            again.append({"at": file.entry.path, "held": workers})
        else:
            fresh.append(_file_row(load, file, workers))
    if fresh:
        connection.execute(sa.insert(staged), fresh)
    if again:
        connection.execute(
            sa.update(staged)
            .where(staged.c.load_id == load, staged.c.path == sa.bindparam("at"))
            .values(workers=sa.bindparam("held")),
            again,
        )


def _keep_inputs(
    connection: sa.Connection, tables: Tables, load: str, read: Iterable[Input]
) -> None:
    """Write down what was read from input files."""
    inputs = tables["open_input"]
    rows = [{"at": each.number, **_counts(each)} for each in read]
    if rows:
        connection.execute(
            sa.update(inputs)
            .where(inputs.c.load_id == load, inputs.c.number == sa.bindparam("at"))
            .values({name: sa.bindparam(name) for name in rows[0] if name != "at"}),
            rows,
        )


def contribute(
    connection: sa.Connection,
    tables: Tables,
    load: str,
    *,
    state: str,
    read: Sequence[Input],
    files: Iterable[HeldFile],
    known: Collection[str],
) -> tuple[Input, ...]:
    """Write down what a loader contributed.

    Parameters
    ----------
    connection, tables, load
        Inside a transaction.
    state
        Of the load from now on.
    read
        Input files that were read; without a number those that are new.
    files
        Files that workers hold.
    known
        Paths of those that were written down before.

    Returns
    -------
    tuple of Input
        `read`, all with numbers.
    """
    _keep_files(connection, tables, load, files, known)
    numbered = [each for each in read if each.number]
    _keep_inputs(connection, tables, load, numbered)
    new = [each for each in read if not each.number]
    change(connection, tables, load, state=state)
    return (*numbered, *_add_inputs(connection, tables, load, new))


def forget(connection: sa.Connection, tables: Tables, load: str) -> None:
    """Drop all that is kept of a load that ended, but how much it read."""
    inputs, loads = tables["open_input"], tables["load"]
    read, rejected = connection.execute(
        sa.select(
            integer(sa.func.coalesce(sa.func.sum(inputs.c.total_rows), 0)),
            integer(sa.func.coalesce(sa.func.sum(inputs.c.rejected), 0)),
        ).where(inputs.c.load_id == load)
    ).one()
    totals = {"total_rows": read, "rejected": rejected}
    connection.execute(sa.update(loads).where(loads.c.id == load).values(totals))
    for name in ("staged_file", "open_input", "open_load"):
        rows = tables[name]
        connection.execute(sa.delete(rows).where(rows.c.load_id == load))


def unfinished(connection: sa.Connection, tables: Tables) -> tuple[Kept, ...]:
    """Return the loads under way."""
    loads = tables["open_load"]
    rows = connection.execute(sa.select(loads).order_by(loads.c.load_id)).all()
    return tuple(
        Kept(
            id=row.load_id,
            state=row.state,
            attempt=row.attempt,
            fingerprint=row.fingerprint,
            request=json.loads(row.request),
            told=json.loads(row.told),
            placement=_value(row.placement),
            commit=_value(row.commit_request),
            version=row.version,
            reason=row.reason,
            heard=row.heard,
            inputs=_inputs(connection, tables, row.load_id),
            files=_files(connection, tables, row.load_id),
        )
        for row in rows
    )


def abandoned(connection: sa.Connection, tables: Tables) -> tuple[str, ...]:
    """Return loads of which it is not known how far they are: nobody can go on."""
    loads, open_loads = tables["load"], tables["open_load"]
    known = sa.select(open_loads.c.load_id)
    return tuple(
        connection.execute(
            sa.select(loads.c.id).where(
                loads.c.state == "begun", loads.c.id.not_in(known)
            )
        ).scalars()
    )


def workers(connection: sa.Connection, tables: Tables) -> tuple[str, ...]:
    """Return the ids of all workers that there ever were."""
    known = tables["worker"].c.id
    return tuple(connection.execute(sa.select(known).order_by(known)).scalars())


def _value(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _counts(each: Input) -> dict[str, Any]:
    return {
        "was_read": each.read,
        "total_rows": each.rows,
        "nulled": each.nulled,
        "wrapped": each.wrapped,
        "rejected": each.rejected,
    }


def _inputs(connection: sa.Connection, tables: Tables, load: str) -> tuple[Input, ...]:
    inputs = tables["open_input"]
    rows = connection.execute(
        sa.select(inputs).where(inputs.c.load_id == load).order_by(inputs.c.number)
    )
    return tuple(
        Input(
            number=row.number,
            table=row.table_name,
            source=row.source,
            sha256=row.sha256,
            read=bool(row.was_read),
            rows=row.total_rows,
            nulled=row.nulled,
            wrapped=row.wrapped,
            rejected=row.rejected,
        )
        for row in rows
    )


def _file_row(load: str, file: HeldFile, workers: str) -> dict[str, Any]:
    return {
        "load_id": load,
        "table_name": file.table,
        **values_of(file.entry),
        "workers": workers,
    }


def _files(
    connection: sa.Connection, tables: Tables, load: str
) -> tuple[HeldFile, ...]:
    staged = tables["staged_file"]
    rows = connection.execute(
        sa.select(staged).where(staged.c.load_id == load).order_by(staged.c.path)
    )
    return tuple(
        HeldFile(row.table_name, entry_of(row), frozenset(json.loads(row.workers)))
        for row in rows
    )
