"""A column of a FITS table, whether its rows are binary or text."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qserv.ingest.formats.headers import Header, Malformed

Cells = npt.NDArray[np.uint8]
"""The bytes of a column: a row for each of the table."""
_SAYS_NOTHING: Final = re.compile(r"(label|name) (for|of) (field|column)")
"""What libraries write beside every name."""


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a table.

    Parameters
    ----------
    name
        Its name.
    form
        Its type, as the header says it.
    offset, width
        Where its bytes are in a row, and how many.
    meaning
        Unit, ucd and description, where it has them.
    type
        The Arrow type of its values.
    read
        Turns bytes into values, or into texts of them; None where a row holds several.
    """

    name: str
    form: str
    offset: int
    width: int
    meaning: dict[str, str]
    type: pa.DataType
    read: Callable[[Cells], pa.Array] | None

    @property
    def field(self) -> pa.Field:
        """The Arrow field with its meaning."""
        return pa.field(self.name, self.type, metadata=self.meaning or None)


def name_of(header: Header, number: int) -> str:
    """Return the name of a column; one of ours where it has none."""
    return header.text(f"TTYPE{number}") or f"col{number}"


def meaning_of(header: Header, number: int) -> dict[str, str]:
    """Return unit, ucd and description of a column, where it has them."""
    comment = header.comments.get(f"TTYPE{number}", "")
    said = {
        "unit": header.text(f"TUNIT{number}"),
        "ucd": header.text(f"TUCD{number}"),
        "description": header.text(f"TCOMM{number}")
        or ("" if _SAYS_NOTHING.match(comment) else comment),
    }
    return {key: text for key, text in said.items() if text}


def scaling_of(header: Header, number: int) -> tuple[float, float]:
    """Return what turns the stored numbers of a column into real ones.

    Raises
    ------
    Malformed
        If it is no number, or makes all of them one.
    """
    scale = _number(header, f"TSCAL{number}", 1)
    if scale == 0:
        raise Malformed(
            f"TSCAL{number} is {scale!r}, which leaves nothing of its numbers"
        )
    return scale, _number(header, f"TZERO{number}", 0)


def texts_of(cells: Cells) -> pa.Array:
    """Return texts, each up to its first NUL byte or trailing blanks."""
    if not cells.shape[1]:
        return pa.array([""] * len(cells), pa.string())
    texts = np.ascontiguousarray(cells).view(f"S{cells.shape[1]}").reshape(-1)
    # What stands behind a NUL is no part of the text.
    whole = pa.array([text.split(b"\0", 1)[0].rstrip(b" ") for text in texts.tolist()])
    try:
        return whole.cast(pa.string())
    except pa.ArrowInvalid:
        # The standard knows ASCII alone; beyond it both of these are found.
        return pa.array([_decoded(text) for text in whole.to_pylist()], pa.string())


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _number(header: Header, keyword: str, default: float) -> float:
    value = header.values.get(keyword, default)
    if isinstance(value, (str, bool)) or value is None or not math.isfinite(value):
        raise Malformed(f"{keyword} is {value!r}, no number")
    return value
