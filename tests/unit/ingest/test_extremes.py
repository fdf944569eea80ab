"""The least and greatest values are those of the rows, exactly, or are left unknown."""

import numpy as np
import pyarrow as pa
import pytest

from qserv.catalog.bounds import from_text, to_text, widened
from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.ingest.extremes import extremes
from qserv.wire import messages

MOMENTS = ["2021-01-14T11:25:00.5", "1999-01-01T00:00:00"]


def of(datatype: DataType, values: pa.Array):
    table = Table("T", TableKind.REPLICATED, (Column("c", datatype),))
    return extremes(table, pa.table({"c": values}))


@pytest.mark.parametrize(
    ("datatype", "values", "expected"),
    [
        (DataType.BIGINT, pa.array([2**53 + 1, None, -5]), (-5, 2**53 + 1)),
        (DataType.DOUBLE, pa.array([0.1, -1e-300, None]), (-1e-300, 0.1)),
        (DataType.REAL, pa.array([0.1], pa.float32()), (float(np.float32(0.1)),) * 2),
        (
            DataType.TIMESTAMP,
            pa.array(MOMENTS).cast(pa.timestamp("us")),
            ("1999-01-01 00:00:00.000000", "2021-01-14 11:25:00.500000"),
        ),
        (DataType.BIGINT, pa.array([None, None], pa.int64()), None),
    ],
)
def test_bounds_survive_wire_and_metadata(datatype, values, expected):
    found = of(datatype, values)
    assert found == {"c": expected}
    assert messages.bounds_from_proto(messages.bounds_to_proto("T", found)) == found
    assert from_text(to_text(found)) == found


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        (DataType.DOUBLE, pa.array([np.inf, 1.0])),
        (DataType.TIMESTAMP, pa.array([9 * 10**17], pa.timestamp("us"))),
        (DataType.VARCHAR, pa.array(["a"])),
        (DataType.BOOLEAN, pa.array([True])),
    ],
)
def test_what_no_literal_can_say_is_unknown(datatype, values):
    assert of(datatype, values) == {}


def test_rows_that_are_added_widen_what_is_known():
    one = {"a": (1, 5), "b": (0.5, 1.5), "c": None, "d": None, "e": (1, 2)}
    two = {"a": (-1, 3), "b": None, "c": (7, 8), "d": None, "f": (3, 4)}
    assert widened(one, two) == {"a": (-1, 5), "b": (0.5, 1.5), "c": (7, 8), "d": None}
