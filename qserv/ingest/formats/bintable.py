"""The columns of FITS binary tables (BINTABLE), and their bytes as values.

Logical NULL and TNULL are NULL; TSCAL and TZERO are applied, to whole numbers exactly
where they are whole themselves; a text ends at its first NUL byte or trailing blank.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qserv.ingest.formats.fitsfield import (
    Cells,
    Field,
    meaning_of,
    name_of,
    scaling_of,
    texts_of,
)
from qserv.ingest.formats.headers import Header, Malformed

_FORM: Final = re.compile(r"(\d*)([LXBIJKAEDCMPQ])(.*)", re.DOTALL)
_WIDTH: Final = {
    "L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8,
    "C": 8, "M": 16, "P": 8, "Q": 16,
}  # fmt: skip
_TYPE: Final = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_SIGNED: Final = {"B": -128, "I": 2**15, "J": 2**31, "K": 2**63}
"""The TZERO that turns unsigned integers into signed ones, or bytes the other way."""
_FAR: Final = 2**64
_OTHER: Final = {"B": "i1", "I": "u2", "J": "u4", "K": "u8"}


def fields(header: Header) -> tuple[Field, ...]:
    """Return the columns that a header describes.

    Raises
    ------
    Malformed
        If it makes no sense.
    """
    found, offset = [], 0
    for number in range(1, header.whole("TFIELDS") + 1):
        found.append(_field(header, number, offset))
        offset += found[-1].width
    if offset != (width := header.whole("NAXIS1")):
        raise Malformed(f"its columns have {offset} bytes a row, but NAXIS1 is {width}")
    return tuple(found)


def _field(header: Header, number: int, offset: int) -> Field:
    form = header.text(f"TFORM{number}")
    if (found := _FORM.fullmatch(form)) is None:
        raise Malformed(f"TFORM{number} is {form!r}")
    repeat, code = int(found[1] or 1), found[2]
    if repeat > 2**31:
        raise Malformed(f"TFORM{number} is {form!r}")
    width = (repeat + 7) // 8 if code == "X" else repeat * _WIDTH[code]
    read = _reader(header, number, code, repeat, found[3])
    return Field(
        name=name_of(header, number),
        form=f"{repeat}{code}",
        offset=offset,
        width=width,
        meaning=meaning_of(header, number),
        type=read(np.empty((0, width), np.uint8)).type
        if read
        else pa.list_(pa.float64()),
        read=read,
    )


def _reader(
    header: Header, number: int, code: str, repeat: int, rest: str
) -> Callable[[Cells], pa.Array] | None:
    """Return what reads the values of a column; None where a row has several."""
    if code == "A":
        # A text that is split into several has another meaning: TDIM or rAw says so.
        split = "," in header.text(f"TDIM{number}")
        return None if split or rest.strip() not in {"", str(repeat)} else texts_of
    if repeat != 1 or code in "CMPQ":
        return None
    if code in "LX":
        return _truths if code == "L" else _bits
    scale, zero = scaling_of(header, number)
    null = _null(header, number) if code in "BIJK" else None
    return partial(_numbers, code=code, scale=scale, zero=zero, null=null)


def _null(header: Header, number: int) -> int | None:
    """Return the stored number that is NULL; None where none is."""
    null = header.values.get(f"TNULL{number}")
    if null is not None and type(null) is not int:
        raise Malformed(f"TNULL{number} is {null!r}, no whole number")
    return null


def _numbers(
    cells: Cells, *, code: str, scale: float, zero: float, null: int | None
) -> pa.Array:
    stored = np.ascontiguousarray(cells).view(_TYPE[code]).reshape(-1)
    mask = None if null is None else stored == null
    values = stored.astype(stored.dtype.newbyteorder("="))
    if scale == 1 and zero == _SIGNED.get(code):
        # Adding half the range is turning the highest bit around.
        bits = values.view(f"u{values.itemsize}")
        highest = bits.dtype.type(2 ** (8 * values.itemsize - 1))
        values = (bits ^ highest).view(_OTHER[code])
    elif scale == 1 and zero == 0:
        pass
    elif code in "BIJK" and _is_whole(scale) and _is_whole(zero):
        return _whole(values, int(scale), int(zero), mask)
    else:
        values = values.astype(np.float64) * scale + zero
    return pa.array(values, mask=mask)


def _is_whole(number: float) -> bool:
    # Beyond, nobody means a number of whole steps, and a decimal would not hold it.
    return abs(number) < _FAR and number == int(number)


def _whole(
    values: npt.NDArray[np.integer],
    scale: int,
    zero: int,
    mask: npt.NDArray[np.bool_] | None,
) -> pa.Array:
    """Scale whole numbers by whole ones: a double would lose their last digits."""
    if 2 ** (8 * values.itemsize) * abs(scale) + abs(zero) < 2**63:
        return pa.array(values.astype(np.int64) * scale + zero, mask=mask)
    exact = values.astype(object) * scale + zero
    return pa.array(exact, pa.decimal256(76, 0), mask=mask)


def _truths(cells: Cells) -> pa.Array:
    letters = np.ascontiguousarray(cells).reshape(-1)
    true, false = letters == ord("T"), letters == ord("F")
    return pa.array(true, mask=~(true | false))


def _bits(cells: Cells) -> pa.Array:
    return pa.array(np.ascontiguousarray(cells).reshape(-1) >= 128)
