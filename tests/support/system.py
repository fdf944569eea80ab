"""Rows of the tables that qserv fills itself, as the metadata would tell them."""

from datetime import datetime

import pyarrow as pa

from qserv.catalog.system import TABLES
from qserv.wire.codec import arrow_schema

_LOADS = [
    {
        "load_id": f"load-{n}",
        "release": "t",
        "family": "t",
        "state": "aborted" if n == 3 else "committed",
        "who": who,
        "pipeline": pipeline,
        "configuration": "c0ffee",
        "input_ids": "visit-1\nvisit-2" if n == 1 else "",
        "tables": "Object\nSource",
        "replaced": "",
        "begun": datetime.fromisoformat(f"2026-11-0{n}T12:00"),
        "ended": datetime.fromisoformat(f"2026-11-0{n}T13:00"),
        "reason": "Ctrl-C" if n == 3 else "",
        "snapshot": None if n == 3 else n,
        "rows_read": 100 * n,
        "rows_rejected": n,
    }
    for n, who, pipeline in ((1, "ada", "p 1"), (2, "bob", "p 2"), (3, "ada", "p 2"))
]
_FILES = [
    {
        "number": n,
        "load_id": f"load-{load}",
        "release": "t",
        "table_name": "Object",
        "source": f"o{n}.parquet",
        "sha256": "ab" * 32,
        "rows_read": 10 * n,
        "rows_rejected": 0,
        "nulled": 0,
        "wrapped": 0,
        "snapshot": load,
        "gone": 5 if n == 1 else None,
        "live": n != 1,
    }
    for n, load in ((0, 1), (1, 1), (2, 2), (3, 2))
]
ROWS = {
    name: pa.Table.from_pylist(rows, arrow_schema(TABLES[name].columns))
    for name, rows in (("loads", _LOADS), ("contributions", _FILES))
}
"""By the names of the tables."""
