"""Finds rows that no release may hold: bad positions, bad keys, orphans, far pairs.

Each check is one vectorised pass. What it finds is told by file, row and column.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qserv.catalog.tables import DataType
from qserv.errors import InvalidRequest
from qserv.ingest.rejects import Reject
from qserv.ingest.rows import Rows
from qserv.sky import healpix

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


class Findings:
    """Collects the bad rows among some.

    Parameters
    ----------
    rows
        The rows that are checked.

    Attributes
    ----------
    bad
        Which rows were found bad.
    rejects
        What is wrong with each of them: what was found first.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.bad = np.zeros(len(rows), dtype=np.bool_)
        self.rejects: list[Reject] = []

    def add(self, bad: Flags, column: str, say: Callable[[Any], str]) -> None:
        """Note bad rows.

        Parameters
        ----------
        bad
            Which rows.
        column
            The column to blame.
        say
            Turns the column's value in such a row into what is wrong with it.
        """
        which = np.flatnonzero(bad & ~self.bad)
        if not which.size:
            return
        self.bad[which] = True
        values = self._rows.data.column(column).take(pa.array(which)).to_pylist()
        inputs, numbers = self._rows.inputs[which], self._rows.numbers[which]
        self.rejects += [
            Reject(number, row, column, "" if v is None else str(v), say(v))
            for number, row, v in zip(
                inputs.tolist(), numbers.tolist(), values, strict=True
            )
        ]


def positions(rows: Rows, findings: Findings) -> tuple[Rows, Floats, Floats, Flags]:
    """Check the positions of a table's rows and wrap right ascensions.

    Parameters
    ----------
    rows
        Rows of a table with a position.
    findings
        Takes NULL (or NaN) and infinite values, declinations outside ±90 and right
        ascensions outside [-180, 540).

    Returns
    -------
    rows
        With right ascensions in [0, 360).
    lon, lat
        Degrees; meaningless in the rows that were found bad.
    wrapped
        Which right ascensions were.

    Raises
    ------
    InvalidRequest
        If a position column is not a number.
    """
    table = rows.table
    assert table.position is not None
    for name in table.position:
        if not table.column(name).datatype.is_numeric:
            raise InvalidRequest(
                f"table {table.name}: position column {name} is not a number"
            )
    ra, dec = (table.column(name).name for name in table.position)
    lon, lat = _floats(rows, ra), _floats(rows, dec)
    # A comparison with NaN, which stands for NULL here, is false.
    findings.add(~(np.abs(lat) <= 90), dec, lambda v: f"{_show(v)} is not within ±90")
    sound = (lon >= -180) & (lon < 540)
    findings.add(~sound, ra, lambda v: f"{_show(v)} is not in [0, 360)")
    outside = sound & ((lon < 0) | (lon >= 360))
    if outside.any():
        rows = _wrap(rows, ra, outside)
        lon = _floats(rows, ra)
    return rows, lon, lat, outside


def keys(rows: Rows, name: str, findings: Findings, *, null: bool = False) -> pa.Array:
    """Return a column of keys as int64 or string, after noting where it is NULL.

    Parameters
    ----------
    rows, findings
        Rows of a table, and what takes the bad ones.
    name
        The column.
    null
        Whether it may be NULL.

    Raises
    ------
    InvalidRequest
        If a key is neither a whole number nor text.
    """
    table = rows.table
    column = table.column(name)
    if not (column.datatype.is_integer or column.datatype is DataType.VARCHAR):
        raise InvalidRequest(
            f"table {table.name}: key {column.name} is {column.datatype}; a director "
            "key or an id is a whole number or text"
        )
    found = rows.data.column(column.name).combine_chunks()
    if not null:
        bad = _flags(pc.is_null(found))
        findings.add(bad, column.name, lambda _: "the key is NULL")
    return found.cast(pa.int64()) if column.datatype.is_integer else found


def orphans(
    rows: Rows, link: tuple[str, str], homes: Integers, findings: Findings
) -> None:
    """Note rows whose director has no home (-1); NULL keys are another's matter.

    Parameters
    ----------
    rows, findings
        Rows of a child or ref-match table, and what takes the bad ones.
    link
        The column and its director (`Table.links`).
    homes
        Of the keys in that column.
    """
    key, director = link
    column = rows.table.column(key).name
    null = _flags(pc.is_null(rows.data.column(column)))
    findings.add(
        (homes < 0) & ~null,
        column,
        lambda value: f"{_show(value)} is not in {director}: the row is an orphan",
    )


def pairs(
    rows: Rows, homes: Sequence[Integers], radius: float, findings: Findings
) -> None:
    """Note pairs of nothing with nothing, and pairs that the overlap does not span.

    Parameters
    ----------
    rows, findings
        Rows of a ref-match table, and what takes the bad ones.
    homes
        Of both keys, -1 where a key has none.
    radius
        Overlap radius in degrees.

    Notes
    -----
    Homes are known to a pixel of order 29, 0.4 mas around its centre, and an overlap is
    complete to `healpix.SLACK` beyond its radius, seen from any point of a home. So
    centres may lie half the slack beyond the radius.
    """
    (key, director), (second, other) = rows.table.links
    first, second = (rows.table.column(name).name for name in (key, second))
    empty = [_flags(pc.is_null(rows.data.column(name))) for name in (first, second)]
    findings.add(empty[0] & empty[1], first, lambda _: f"both it and {second} are NULL")
    both = np.flatnonzero((homes[0] >= 0) & (homes[1] >= 0))
    far = np.zeros(len(rows), dtype=np.bool_)
    apart = healpix.separations(
        *(healpix.centers(healpix.ORDER, known[both]) for known in homes)
    )
    far[both] = apart > radius + healpix.SLACK / 2
    findings.add(
        far,
        second,
        lambda value: (
            f"{_show(value)} of {other} lies farther from its {director} than the "
            f"table's overlap, {radius * 3600:g} arcsec"
        ),
    )


def _floats(rows: Rows, name: str) -> Floats:
    # A whole number that is rounded by that is no angle anyway.
    column = rows.data.column(name).cast(pa.float64(), safe=False)
    found: Floats = column.to_numpy()
    return found


def _wrap(rows: Rows, name: str, outside: Flags) -> Rows:
    data, at, which = (
        rows.data,
        rows.data.schema.get_field_index(name),
        pa.array(outside),
    )
    field, column = data.schema.field(at), data.column(name).combine_chunks()
    angles = np.mod(column.filter(which).to_numpy(), 360.0)
    # A tiny negative angle plus 360 rounds to 360 itself.
    angles[angles == 360] = 0
    wrapped = pa.array(angles).cast(field.type)
    column = pc.replace_with_mask(column, which, wrapped)
    return replace(rows, data=data.set_column(at, field, column))


def _flags(array: pa.Array) -> Flags:
    found: Flags = np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.bool_)
    return found


def _show(value: Any) -> str:
    return "NULL or NaN" if value is None else repr(value)
