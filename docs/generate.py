"""Pages of the reference that say what the code says.

``pytest tests/house --rewrite`` writes them; without it the test compares them.
"""

import inspect
import textwrap
from pathlib import Path

from qserv import config, errors
from qserv.catalog import system
from qserv.catalog.tables import Column, Table

REFERENCE = Path(__file__).parent / "reference"


ERRORS = """\
# Errors

Every error has a code that stays for ever, says who has to act, and is of the same
class in your program as where it was raised. Its text says what happened, where, and
what to do about it.

| code | class | meaning | who has to act | retry |
|---|---|---|---|---|
{rows}

The classes form a tree; catch as much of it as you can handle:

```text
{tree}
```

On the command line `qserv` prints `error CODE: text` and ends with status 2 when the
request has to change, else with 1.
"""

CONFIGURATION = """\
# Configuration

A setting comes from the command line, else from the environment, else from the TOML
file that `--config` names, else it has its default. In a file it is a key at the top
level (`port = 7480`), in the environment a variable (`QSERV_PORT=7480`). A key that
does not exist is refused.

## `qserv czar`

{czar}

## `qserv worker`

{worker}

## `qserv load`

{load}
"""

SYSTEM = """\
# System tables

Release `qserv` has tables that qserv fills itself: where all rows come from. The czar
reads them from its metadata when a query names them, always with `qserv.` before the
name. Whatever SQL can do with a table it can do with them. A query over them alone asks
no worker; joined with tables in chunks their rows travel to the chunks, of the columns
that the query names. What it reads of one of them must fit `merge_memory` (else:
`LimitExceeded`), and `broadcast_memory` where it travels.

They tell the history as it is now, that of tables which were dropped or replaced too,
whatever snapshot the query reads; only `live` depends on that. Nothing can be loaded,
made or dropped in release `qserv`. `qserv schema show qserv` shows these tables, too.
Times compare with texts: `begun > '2026-11-02'`.

Where an earlier version let users make a release `qserv`, its tables are read as before
but for those with a name of these, and nothing more goes into it.

```sql
SELECT c.source, l.pipeline, l.configuration, l.who, l.begun
FROM dr1.Source s
JOIN qserv.contributions c ON s._source = c.number
JOIN qserv.loads l ON l.load_id = c.load_id
WHERE s.sourceId = 7
```

[Where does this row come from?](../how-to/follow-loads.md)
{tables}
"""


def errors_page() -> str:
    """Return the page of all errors, from the tree in `qserv.errors`."""
    tree = inspect.cleandoc(errors.__doc__ or "").partition("::\n\n")[2]
    rows = [
        f"| `{kind.code}` | `{kind.__name__}` | {_first_line(kind)} "
        f"| {kind.fault.value} | {'may help' if kind.retry else 'no'} |"
        for kind in sorted(errors.subclasses(), key=lambda kind: kind.code)
    ]
    picture = textwrap.dedent(tree.partition("\n\nAn error")[0])
    return ERRORS.format(rows="\n".join(rows), tree=picture)


def configuration_page() -> str:
    """Return the page of all settings, from the models in `qserv.config`."""
    return CONFIGURATION.format(
        czar=_settings(config.CzarConfig),
        worker=_settings(config.WorkerConfig),
        load=_settings(config.LoadConfig),
    )


def system_page() -> str:
    """Return the page of the tables that qserv fills itself."""
    return SYSTEM.format(tables="\n".join(map(_table, system.TABLES.values())))


def _table(table: Table) -> str:
    rows = "\n".join(map(_column, table.columns))
    return f"""
## `{system.RELEASE}.{table.name}`

{table.description}

| column | type | UCD | meaning |
|---|---|---|---|
{rows}"""


def _column(column: Column) -> str:
    null = ", or NULL" if column.nullable else ""
    kind = f"{column.datatype}{null}"
    return f"| `{column.name}` | {kind} | `{column.ucd}` | {column.description} |"


def _settings(
    model: type[config.CzarConfig | config.WorkerConfig | config.LoadConfig],
) -> str:
    rows = [
        f"| `{name}` | `{_default(field.default)}` | {_one_line(field.description)} |"
        for name, field in model.model_fields.items()
    ]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def _default(value: object) -> str:
    match value:
        case None:
            return "unset"
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(value)
        case "":
            return "(empty)"
        case int() if value >= 2**30:
            return f"{value // 2**30} GiB"
        case int() if value >= 2**20:
            return f"{value // 2**20} MiB"
        case float():
            return f"{value:g}"
    return str(value)


def _first_line(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


PAGES = {
    REFERENCE / "errors.md": errors_page,
    REFERENCE / "configuration.md": configuration_page,
    REFERENCE / "system.md": system_page,
}
