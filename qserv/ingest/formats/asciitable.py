"""The columns of FITS ASCII tables (TABLE), and their characters as texts of values.

Numbers stay texts here, to be read as those of a CSV are: as the nearest number of the
table's type. A field that is TNULL is NULL; a blank number is 0, as the standard says.
"""

import re
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from qserv.ingest.formats.fitsfield import (
    Cells,
    Field,
    meaning_of,
    name_of,
    scaling_of,
    texts_of,
)
from qserv.ingest.formats.headers import Header, Malformed
from qserv.ingest.formats.texts import parse

_FORM: Final = re.compile(r"(?:([AI])(\d+)|([FED])(\d+)(?:\.(\d+))?)")
_TYPES: Final = {"A": pa.string(), "I": pa.int64()}
_NO_LETTER: Final = r"^([+-]?[0-9.]+)([+-][0-9]+)$"
"""A number whose exponent has a sign, but no letter before it."""
_NO_POINT: Final = re.compile(r"^([+-]?)([0-9]+)((?:[EeDd].*)?)$")


def fields(header: Header) -> tuple[Field, ...]:
    """Return the columns that a header describes.

    Raises
    ------
    Malformed
        If it makes no sense.
    """
    count, width = header.whole("TFIELDS"), header.whole("NAXIS1")
    return tuple(_field(header, number, width) for number in range(1, count + 1))


def _field(header: Header, number: int, row: int) -> Field:
    form = header.text(f"TFORM{number}")
    if (found := _FORM.fullmatch(form)) is None:
        raise Malformed(f"TFORM{number} is {form!r}")
    code, width = found[1] or found[3], int(found[2] or found[4])
    first = header.whole(f"TBCOL{number}")
    if not 1 <= first <= row - width + 1 or not width:
        raise Malformed(
            f"column {number} has {width} characters from {first}, but a row {row}"
        )
    scaling = scaling_of(header, number)
    scaled = scaling != (1, 0) and code != "A"
    null = header.values.get(f"TNULL{number}")
    return Field(
        name=name_of(header, number),
        form=form,
        offset=first - 1,
        width=width,
        meaning=meaning_of(header, number),
        type=pa.float64() if scaled else _TYPES.get(code, pa.float64()),
        read=partial(
            _values,
            code=code,
            decimals=int(found[5] or 0),
            null=null.strip() if isinstance(null, str) else None,
            scaling=scaling if scaled else None,
        ),
    )


def _values(
    cells: Cells,
    *,
    code: str,
    decimals: int,
    null: str | None,
    scaling: tuple[float, float] | None,
) -> pa.Array:
    texts = texts_of(cells)
    plain = pc.utf8_trim_whitespace(texts)
    known = pc.equal(plain, null if null is not None else pa.scalar(None, pa.string()))
    if code != "A":
        texts = pc.if_else(pc.equal(plain, ""), "0", plain)
    if code in "FED":
        texts = _decimals(texts, decimals)
    texts = pc.if_else(known.fill_null(False), pa.scalar(None, pa.string()), texts)
    return texts if scaling is None else _scaled(texts, *scaling)


def _decimals(texts: pa.Array, decimals: int) -> pa.Array:
    """Write decimals as others write them: with a point, and a letter for 10 to the."""
    texts = pc.replace_substring_regex(texts, _NO_LETTER, r"\1E\2")
    if not decimals or pc.all(pc.match_substring(texts, ".")).as_py():
        return texts
    return pa.array(
        [_NO_POINT.sub(partial(_pointed, decimals), t) for t in texts.to_pylist()]
    )


def _pointed(decimals: int, found: re.Match[str]) -> str:
    sign, digits, rest = found.groups()
    digits = digits.zfill(decimals + 1)
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}{rest}"


def _scaled(texts: pa.Array, scale: float, zero: float) -> pa.Array:
    numbers, bad = parse(texts, pa.float64())
    scaled = pc.add(pc.multiply(numbers, scale), zero).cast(pa.string())
    return scaled if bad is None else pc.if_else(pa.array(bad), texts, scaled)
