"""Window functions: what may stand before OVER, with its types.

Their meanings are those of SQL:2003 (ISO/IEC 9075-2, section 6.10).
"""

from typing import Final

from qserv.catalog.tables import DataType
from qserv.errors import InvalidValue, TypeMismatch, UnknownName
from qserv.plan import functions
from qserv.plan.expressions import Expression, Literal, Ordering, Window

_RANKS: Final = {"ROW_NUMBER": "row_number", "RANK": "rank", "DENSE_RANK": "dense_rank"}
_SHARES: Final = {"PERCENT_RANK": "percent_rank", "CUME_DIST": "cume_dist"}
_PICKS: Final = {"FIRST_VALUE": "first_value", "LAST_VALUE": "last_value"}
_SHIFTS: Final = {"LAG": "lag", "LEAD": "lead"}
WINDOWS: Final = frozenset({*_RANKS, *_SHARES, *_PICKS, *_SHIFTS, "NTILE"})
"""Functions that stand only before OVER."""


def window(
    name: str,
    arguments: functions.Arguments,
    *,
    partition: functions.Arguments,
    orderings: tuple[Ordering, ...],
    frame: str,
) -> Expression:
    """Apply a window function, or an aggregate over a window.

    Raises
    ------
    UnknownName
        If there is no such window function.
    TypeMismatch
        If number or types of the arguments do not fit.
    """
    given, datatype = _types(name, arguments)
    made = Window(name, given, partition, orderings, frame, datatype)
    over = (
        name in functions.AGGREGATES and datatype is DataType.DOUBLE and name != "COUNT"
    )
    return functions.finite(made) if over else made


def _types(
    name: str, arguments: functions.Arguments
) -> tuple[functions.Arguments, DataType]:
    if name in functions.AGGREGATES:
        if len(arguments) > 1:
            raise TypeMismatch(f"{name} takes one expression, not {len(arguments)}")
        made = functions.aggregate(name, next(iter(arguments), None), distinct=False)
        return () if made.argument is None else (made.argument,), made.datatype
    if name not in WINDOWS:
        raise UnknownName(
            f"there is no window function {name}; there are: "
            f"{', '.join(sorted(WINDOWS | functions.AGGREGATES))}"
        )
    least, most = _counts(name)
    if not least <= len(arguments) <= most:
        raise TypeMismatch(f"{name} takes {least} arguments, not {len(arguments)}")
    if name in _PICKS or name in _SHIFTS:
        return _shifted(name, arguments), arguments[0].datatype
    if name == "NTILE":
        _check_tiles(arguments[0], arguments)
    return arguments, DataType.DOUBLE if name in _SHARES else DataType.BIGINT


def _check_tiles(count: Expression, arguments: functions.Arguments) -> None:
    if not count.datatype.is_integer:
        raise functions.refused("NTILE", "a whole number", arguments)
    if isinstance(count, Literal) and float(count.value) < 1:
        raise InvalidValue(f"NTILE parts rows into 1 or more, not {count.value}")


def _counts(name: str) -> tuple[int, int]:
    if name in _SHIFTS:
        return 1, 3
    return (1, 1) if name in _PICKS or name == "NTILE" else (0, 0)


def _shifted(name: str, arguments: functions.Arguments) -> functions.Arguments:
    value, *rest = arguments
    if rest and not rest[0].datatype.is_integer:
        raise functions.refused(name, "a value and a whole number of rows", arguments)
    if len(rest) < 2:
        return arguments
    _, default = functions.unify(name, (value, rest[1]))
    if default.datatype is not value.datatype:
        raise functions.refused(name, "a default of the value's type", arguments)
    return (value, rest[0], default)
