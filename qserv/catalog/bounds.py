"""The least and greatest value of each column of a table, as its loads knew them.

A column maps to (minimum, maximum), or to None where it holds nothing but NULL; one
that is not named is unknown. Moments are texts that read back as the same.
"""

import json
from collections.abc import Mapping

Value = int | float | str
Ends = tuple[Value, Value]
Bounds = Mapping[str, Ends | None]


def widened(one: Bounds, other: Bounds) -> dict[str, Ends | None]:
    """Return the bounds of the rows of both; known is what both know."""
    return {name: _joined(one[name], other[name]) for name in one if name in other}


def _joined(one: Ends | None, other: Ends | None) -> Ends | None:
    if one is None or other is None:
        return one or other
    # Both values of a column have its type.
    return min(one[0], other[0]), max(one[1], other[1])


def to_text(bounds: Bounds) -> str:
    """Write bounds as JSON; whole numbers keep all digits, and so do doubles."""
    return json.dumps(dict(bounds), allow_nan=False)


def from_text(text: str | None) -> dict[str, Ends | None]:
    """Read bounds from JSON; all unknown where there is none."""
    plain = json.loads(text or "{}")
    return {name: ends and (ends[0], ends[1]) for name, ends in plain.items()}
