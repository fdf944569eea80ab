"""Arrow rows as an astropy table; apart, because astropy is slow to import."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from astropy import units
from astropy.table import Column as PlainColumn
from astropy.table import MaskedColumn, Table

from qserv.catalog.tables import Column, DataType

_FILL = {DataType.BOOLEAN: False, DataType.VARCHAR: ""}


def astropy_table(rows: pa.Table, columns: Sequence[Column]) -> Table:
    """Turn rows into an astropy table.

    Parameters
    ----------
    rows
        The rows.
    columns
        What they mean: unit, UCD (as ``meta["ucd"]``) and description are kept.

    Returns
    -------
    Table
        A column with NULLs is a `MaskedColumn`, masked where they are.
    """
    return Table(
        [
            _column(rows.column(position), column)
            for position, column in enumerate(columns)
        ]
    )


def _column(values: pa.ChunkedArray, column: Column) -> PlainColumn:
    about: dict[str, Any] = {
        "name": column.name,
        "description": column.description or None,
        "unit": _unit(column.unit),
        "meta": {"ucd": column.ucd} if column.ucd else None,
    }
    if values.null_count == 0:
        return PlainColumn(_plain(values, column), **about)
    fill = pa.scalar(_FILL.get(column.datatype, 0)).cast(values.type)
    filled = _plain(pc.fill_null(values, fill), column)
    return MaskedColumn(filled, mask=values.is_null().to_numpy(), **about)


def _plain(values: pa.ChunkedArray, column: Column) -> npt.NDArray[Any]:
    plain: npt.NDArray[Any] = values.to_numpy()
    return plain.astype(str) if column.datatype is DataType.VARCHAR else plain


def _unit(text: str) -> units.UnitBase | None:
    if not text:
        return None
    return units.Unit(text, format="vounit", parse_strict="silent")
