"""Loading as users say it: patterns of files, a schema file, a sidecar beside it."""

import getpass
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from qserv.catalog.felis import read_schema
from qserv.catalog.tables import Table
from qserv.errors import InvalidRequest
from qserv.ingest import loader
from qserv.ingest.progress import LoadProgress, LoadReport

__all__ = ["Files", "LoadProgress", "LoadReport", "load"]

Files = str | Path | Sequence[str | Path]


def load(
    czar: str,
    release: str,
    inputs: Mapping[str, Files],
    *,
    schema: str | Path | Sequence[Table] | None,
    sidecar: str | Path | None,
    family: str | None,
    replicas: int | None,
    overlap: float | None,
    leaf_rows: int | None,
    leaf_bytes: int | None,
    pipeline: str,
    progress: Callable[[LoadProgress], None] | None,
) -> LoadReport:
    """Load files through a czar; see `qserv.client.connection.Connection.load`."""
    return loader.load(
        czar,
        release,
        {table: _expand(table, files) for table, files in inputs.items()},
        tables=_tables(schema, sidecar, inputs),
        family=family,
        replicas=replicas,
        overlap=overlap,
        leaf_rows=leaf_rows,
        leaf_bytes=leaf_bytes,
        who=_who(),
        pipeline=pipeline,
        progress=progress,
    )


def _tables(
    schema: str | Path | Sequence[Table] | None,
    sidecar: str | Path | None,
    inputs: Mapping[str, Files],
) -> tuple[Table, ...] | None:
    match schema:
        case None:
            return None
        case str() | Path():
            return read_schema(schema, sidecar, only=inputs.keys())
        case _:
            return tuple(schema)


def _expand(table: str, files: Files) -> list[Path]:
    patterns = [files] if isinstance(files, str | Path) else files
    return [path for pattern in patterns for path in _matches(table, Path(pattern))]


def _matches(table: str, pattern: Path) -> list[Path]:
    if pattern.is_file():
        return [pattern]
    if pattern.is_dir():
        found = [*pattern.glob("*.parquet"), *pattern.glob("*.csv")]
    else:
        found = list(pattern.parent.glob(pattern.name))
    if not found:
        raise InvalidRequest(
            f"table {table}: there is no file {pattern}; "
            "give a file, a directory of Parquet or CSV files, or a pattern"
        )
    return sorted(found)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return f"uid {os.getuid()}"
