"""A dozen rows written by hand: what a query means can be worked out on paper.

Poles, RA 0 and 360, antipodes, a pair 1e-9 arcsec apart; NULL and NaN; the greatest
and the least of each type; texts with quotes, percent signs and letters of the world.
"""

import pyarrow as pa
from support.survey import Survey

from qserv.catalog.tables import Column, DataType, Table, TableKind

NAN = float("nan")

# id, ra, dec, whole, small, x, r, flag, name
OBJECTS = [
    (1, 0.0, 0.0, 7, 1, 1.5, 0.1, True, "abc"),
    (2, 359.9999, 0.0, -7, 1, -1.5, 0.25, False, "ABC"),
    (3, 180.0, 0.0, 0, 2, 0.0, None, None, None),
    (4, 90.0, 90.0, None, 2, NAN, NAN, True, "100%"),
    (5, 270.0, -90.0, 2, None, None, 1.0, False, "a_c"),
    (6, 45.0, 45.0, 2**63 - 1, 2, 1e308, 3e38, None, "O'Brien"),
    (7, 225.0, -45.0, -(2**63), 3, -1e308, -3e38, True, 'say "hi"'),
    (8, 10.0, 60.0, 2, 3, 0.5, 2.5, True, "Δ Cep"),
    (9, 10.0, 60.0 + 1e-9 / 3600, 3, 3, 2.5, -2.5, False, "ß"),
    (10, 190.0, -60.0, 5, 3, -2.5, 0.0, False, ""),
    (11, 10.0, -60.0, None, None, None, None, None, None),
    (12, 350.0, 1.0, 1, 4, 1e-300, 1e-30, True, "a\\b"),
]

# sourceId, objectId, flux, moment
SOURCES = [
    (101, 1, 1.0, "2021-01-14T11:25:00"),
    (102, 1, 2.0, "2021-01-14T11:25:00.5"),
    (103, 1, NAN, None),
    (104, 2, 4.0, "1999-12-31T23:59:59.999999"),
    (105, 3, None, "2000-02-29"),
]

BANDS = [(1, "u"), (2, "g"), (3, None)]

_COLUMNS = {
    "Object": {
        "objectId": DataType.BIGINT,
        "ra": DataType.DOUBLE,
        "dec": DataType.DOUBLE,
        "whole": DataType.BIGINT,
        "small": DataType.SMALLINT,
        "x": DataType.DOUBLE,
        "r": DataType.REAL,
        "flag": DataType.BOOLEAN,
        "name": DataType.VARCHAR,
    },
    "Source": {
        "sourceId": DataType.BIGINT,
        "objectId": DataType.BIGINT,
        "flux": DataType.DOUBLE,
        "moment": DataType.VARCHAR,
    },
    "Band": {"band": DataType.INTEGER, "letter": DataType.VARCHAR},
}
_ARROW = {
    DataType.BIGINT: pa.int64(),
    DataType.INTEGER: pa.int32(),
    DataType.SMALLINT: pa.int16(),
    DataType.DOUBLE: pa.float64(),
    DataType.REAL: pa.float32(),
    DataType.BOOLEAN: pa.bool_(),
    DataType.VARCHAR: pa.string(),
}


def tiny() -> Survey:
    """Return the rows and the definitions of Object, Source and Band."""
    tables = {
        "Object": _table(
            "Object", TableKind.DIRECTOR, key="objectId", position=("ra", "dec")
        ),
        "Source": _table("Source", TableKind.CHILD, key="objectId", director="Object"),
        "Band": _table("Band", TableKind.REPLICATED),
    }
    written = {"Object": OBJECTS, "Source": SOURCES, "Band": BANDS}
    return Survey({name: _rows(name, rows) for name, rows in written.items()}, tables)


def _table(name: str, kind: TableKind, **keys) -> Table:
    columns = (Column(column, kind_) for column, kind_ in _COLUMNS[name].items())
    return Table(name, kind, tuple(columns), **keys)


def _rows(name: str, rows: list[tuple]) -> pa.Table:
    columns = _COLUMNS[name]
    arrays = [
        pa.array(values, _ARROW[datatype])
        for values, datatype in zip(
            zip(*rows, strict=True), columns.values(), strict=True
        )
    ]
    return pa.table(arrays, names=list(columns))
