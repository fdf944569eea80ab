"""Small tables to load, and the steps of a load without any process."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.ingest.loader import Settings, load
from qserv.ingest.locate import Locator
from qserv.ingest.partition import Located
from qserv.ingest.rows import Rows
from qserv.wire.codec import arrow_schema


def columns(**types):
    return tuple(Column(name, DataType(kind)) for name, kind in types.items())


OBJECT = Table(
    "Object",
    TableKind.DIRECTOR,
    columns(objectId="BIGINT", ra="DOUBLE", dec="DOUBLE", mag="REAL"),
    key="objectId",
    position=("ra", "dec"),
)
SOURCE = Table(
    "Source",
    TableKind.CHILD,
    columns(sourceId="BIGINT", objectId="BIGINT", ra="DOUBLE", dec="DOUBLE"),
    key="objectId",
    director="Object",
    position=("ra", "dec"),
)
FORCED = Table(
    "ForcedSource",
    TableKind.CHILD,
    columns(objectId="BIGINT", flux="DOUBLE"),
    key="objectId",
    director="Object",
)
NAMED_SOURCE = replace(SOURCE, id="sourceId")
REF_OBJECT = Table(
    "RefObject",
    TableKind.DIRECTOR,
    columns(refObjectId="BIGINT", ra="DOUBLE", dec="DOUBLE"),
    key="refObjectId",
    position=("ra", "dec"),
)
MATCH = Table(
    "RefObjMatch",
    TableKind.REF_MATCH,
    columns(objectId="BIGINT", refObjectId="BIGINT", arcsec="DOUBLE"),
    key="objectId",
    director="Object",
    second_key="refObjectId",
    second_director="RefObject",
)
FILTER = Table(
    "Filter", TableKind.REPLICATED, columns(filterId="SMALLINT", name="VARCHAR")
)


def data(table, **values):
    """Return rows of a table; columns that are not given count from 0."""
    length = len(next(iter(values.values())))
    arrays = [values.get(c.name, np.arange(length)) for c in table.columns]
    schema = arrow_schema(table.columns)
    return pa.table(
        [pa.array(a).cast(f.type) for a, f in zip(arrays, schema, strict=True)],
        schema=schema,
    )


def parquet(path: Path, table, **values) -> Path:
    """Write rows of a table to a Parquet file."""
    pq.write_table(data(table, **values), path)
    return path


def rows(table, **values) -> Rows:
    """Return rows as if they were all of one file."""
    found = data(table, **values)
    count = found.num_rows
    return Rows(table, found, np.zeros(count, np.int64), np.arange(1, count + 1))


class Known:
    """The homes of located directors."""

    def __init__(self, located: Located) -> None:
        self._located = located

    def homes(self, keys):
        at = pc.index_in(keys, value_set=self._located.keys, skip_nulls=True)
        homes = np.append(self._located.homes, -1)
        return homes[pc.fill_null(at, -1).to_numpy()]


def locator(*located: Located, overlap=0.0) -> Locator:
    """Return what finds the homes of those directors."""
    known = {each.table.name.lower(): (Known(each),) for each in located}
    return Locator(directors=known, overlap=overlap)


def located(table, where=None, **values):
    """Check rows that never lay in a file, and find their homes."""
    found = (where or locator()).locate(rows(table, **values))
    assert found.rejects == ()
    return found.located


def load_all(czar, inputs, **options):
    """Load files into a fake cluster."""
    tables = options.pop("tables", (OBJECT, SOURCE, FORCED, FILTER))
    progress = options.pop("progress", None)
    settings = Settings(**({"leaf_rows": 100} | options))
    return load(
        czar.endpoint,
        "dr1",
        inputs,
        tables=tables,
        settings=settings,
        progress=progress,
    )
