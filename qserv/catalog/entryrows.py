"""Files of tables as rows of the metadata, both ways.

``manifest_entry`` has those that are or were live, ``staged_file`` those of loads under
way; the columns that tell the file are the same.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from qserv.catalog.snapshot import ManifestEntry, Role

_ROLES: Final = {role.value: role for role in Role}


def values_of(entry: ManifestEntry) -> Mapping[str, Any]:
    """Return the columns that tell a file."""
    return {
        "role": entry.role,
        "chunk": entry.chunk,
        "path": entry.path,
        "total_rows": entry.rows,
        "live_rows": entry.live_rows,
        "size": entry.size,
        "sha256": entry.sha256,
        "bounds": json.dumps(entry.bounds),
        "delta": entry.offset,
    }


def entry_of(row: Any, validity: tuple[int, int | None] = (1, None)) -> ManifestEntry:
    """Turn a row into a file."""
    bounds: dict[str, list[Any]] = json.loads(row.bounds)
    return ManifestEntry(
        role=_ROLES[row.role],
        chunk=row.chunk,
        path=row.path,
        rows=row.total_rows,
        live_rows=row.live_rows,
        size=row.size,
        sha256=row.sha256,
        bounds={name: (low, high) for name, (low, high) in bounds.items()},
        offset=row.delta,
        validity=validity,
    )
