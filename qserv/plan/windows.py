"""Aggregates and window functions: what is made of many rows, with its types.

Their meanings are those of SQL:2003 (ISO/IEC 9075-2, sections 6.10 and 10.9).
"""

from typing import Final

from qserv.catalog.tables import DataType
from qserv.errors import InvalidValue, TypeMismatch, UnknownName
from qserv.plan import functions
from qserv.plan.aggregates import AGGREGATES, MOMENTS, PAIRS
from qserv.plan.expressions import (
    Aggregate,
    Expression,
    Literal,
    Ordering,
    Window,
    children,
)

_RANKS: Final = {"ROW_NUMBER": "row_number", "RANK": "rank", "DENSE_RANK": "dense_rank"}
_SHARES: Final = {"PERCENT_RANK": "percent_rank", "CUME_DIST": "cume_dist"}
_PICKS: Final = {"FIRST_VALUE": "first_value", "LAST_VALUE": "last_value"}
_SHIFTS: Final = {"LAG": "lag", "LEAD": "lead"}
WINDOWS: Final = frozenset({*_RANKS, *_SHARES, *_PICKS, *_SHIFTS, "NTILE"})
"""Functions that stand only before OVER."""


def aggregate(
    name: str, arguments: functions.Arguments, *, distinct: bool
) -> Aggregate:
    """Apply an aggregate; ``*`` is no argument.

    Raises
    ------
    TypeMismatch
        If number or types of the arguments do not fit.
    """
    if name in PAIRS:
        return _pair(name, arguments, distinct=distinct)
    if len(arguments) > 1:
        raise TypeMismatch(f"{name} takes one expression, not {len(arguments)}")
    argument = next(iter(arguments), None)
    if name == "COUNT":
        return Aggregate(name, argument, distinct, DataType.BIGINT)
    if argument is None:
        raise TypeMismatch(f"{name} takes an expression, not *")
    if name in {"MIN", "MAX"}:
        # A duplicate changes neither, so DISTINCT says nothing here.
        return Aggregate(name, argument, False, argument.datatype)
    if not argument.datatype.is_numeric:
        raise TypeMismatch(f"{name} takes a number, not {argument.datatype}")
    if name == "SUM" and argument.datatype.is_integer:
        return Aggregate(name, argument, distinct, DataType.BIGINT)
    if name in {"MEDIAN", *MOMENTS}:
        argument = functions.cast(argument, DataType.DOUBLE)
    return Aggregate(name, argument, distinct, DataType.DOUBLE)


def _pair(name: str, arguments: functions.Arguments, *, distinct: bool) -> Aggregate:
    if len(arguments) != 2:
        raise TypeMismatch(f"{name} takes two expressions, not {len(arguments)}")
    if distinct:
        raise TypeMismatch(f"{name} takes no DISTINCT: it is of pairs")
    (y, x), datatype = functions.doubles(name, arguments)
    datatype = DataType.BIGINT if name == "REGR_COUNT" else datatype
    return Aggregate(name, y, False, datatype, x)


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
    over = name in AGGREGATES and datatype is DataType.DOUBLE
    return functions.finite(made) if over else made


def _types(
    name: str, arguments: functions.Arguments
) -> tuple[functions.Arguments, DataType]:
    if name in AGGREGATES:
        made = aggregate(name, arguments, distinct=False)
        return children(made), made.datatype
    if name not in WINDOWS:
        raise UnknownName(
            f"there is no window function {name}; there are: "
            f"{', '.join(sorted(WINDOWS | AGGREGATES))}"
        )
    least, most = _counts(name)
    if not least <= len(arguments) <= most:
        raise TypeMismatch(f"{name} takes {least} arguments, not {len(arguments)}")
    if name in _PICKS or name in _SHIFTS:
        given = _shifted(name, arguments)
        return given, given[0].datatype
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
    value, default = functions.unify(name, (value, rest[1]))
    return (value, rest[0], default)
