"""Loading as users say it: one file or several, a schema file or tables."""

import getpass
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from qserv.catalog.sidecar import Reading
from qserv.catalog.tables import Table
from qserv.errors import InvalidRequest
from qserv.ingest import loader
from qserv.ingest.inputs import ReadOptions, read_options
from qserv.ingest.loader import Settings
from qserv.ingest.progress import LoadProgress, LoadReport
from qserv.ingest.schema import Schema, described

__all__ = [
    "Files",
    "LoadProgress",
    "LoadReport",
    "Settings",
    "chosen",
    "load",
    "signed",
]

Files = str | Path | Sequence[str | Path]


def load(
    czar: str,
    release: str,
    inputs: Mapping[str, Files],
    *,
    schema: str | Path | Sequence[Table] | None,
    sidecar: str | Path | None,
    known: Callable[[], Sequence[Table]],
    reading: Mapping[str, Any],
    progress: Callable[[LoadProgress], None] | None,
    settings: Settings,
) -> LoadReport:
    """Load files through a czar; see `qserv.client.connection.Connection.load`.

    `known` gives the tables that the release has.
    """
    lists = {table: _several(table, files) for table, files in inputs.items()}
    if schema is None or isinstance(schema, str | Path):
        found = described(
            lists,
            schema=schema,
            sidecar=sidecar,
            known=known(),
            replace=settings.replace,
            reading=reading,
        )
    else:
        found = Schema(tuple(schema), {}, None)
    if settings.overlap is None:
        settings = replace(settings, overlap=found.overlap)
    return loader.load(
        czar,
        release,
        lists,
        tables=found.tables,
        reading={name.lower(): _options(found, name, reading) for name in lists},
        settings=signed(settings),
        progress=progress,
    )


def _options(found: Schema, table: str, said: Mapping[str, Any]) -> ReadOptions:
    """Return how the files of a table are read: as is said now, else in the sidecar."""
    known = found.reading.get(table.lower(), Reading())
    return read_options(
        {**known.options, **said}, ignore=known.ignore, rename=known.rename
    )


def chosen(settings: Mapping[str, Any]) -> Settings:
    """Return settings by their names.

    Raises
    ------
    InvalidRequest
        If there is none of a name.
    """
    names = [field.name for field in fields(Settings)]
    if unknown := [name for name in settings if name not in names]:
        raise InvalidRequest(
            f"a load has no setting {unknown[0]}; it has {', '.join(names)}"
        )
    return Settings(**settings)


def signed(settings: Settings) -> Settings:
    """Return settings that say who loads."""
    return replace(settings, who=settings.who or _who())


def _several(table: str, files: Files) -> Sequence[str | Path]:
    several: object = [files] if isinstance(files, str | Path) else files
    if not isinstance(several, Sequence):
        raise InvalidRequest(
            f"table {table}: give paths of files, not a {type(files).__name__}; write "
            "rows in memory to a file first"
        )
    if not several:
        raise InvalidRequest(f"table {table}: give at least one file")
    return several


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return f"uid {os.getuid()}"
