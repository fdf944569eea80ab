"""Loading as users say it: one file or several, a schema file or tables."""

import getpass
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from qserv.catalog.tables import Table
from qserv.errors import InvalidRequest
from qserv.ingest import loader
from qserv.ingest.progress import LoadProgress, LoadReport
from qserv.ingest.schema import tables_of

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
    lists = {table: _several(table, files) for table, files in inputs.items()}
    if schema is None or isinstance(schema, str | Path):
        tables = tables_of(lists, schema=schema, sidecar=sidecar)
    else:
        tables = tuple(schema)
    return loader.load(
        czar,
        release,
        lists,
        tables=tables,
        family=family,
        replicas=replicas,
        overlap=overlap,
        leaf_rows=leaf_rows,
        leaf_bytes=leaf_bytes,
        who=_who(),
        pipeline=pipeline,
        progress=progress,
    )


def _several(table: str, files: Files) -> Sequence[str | Path]:
    several: object = [files] if isinstance(files, str | Path) else files
    if not isinstance(several, Sequence):
        raise InvalidRequest(
            f"table {table}: give paths of Parquet or CSV files, not a "
            f"{type(files).__name__}; write rows in memory to a file first"
        )
    return several


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return f"uid {os.getuid()}"
