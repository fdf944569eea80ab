"""What a query may call: every function and operator, with its types and its SQL.

This is the allow-list: what is not here never reaches DuckDB. Arithmetic is done in
BIGINT or DOUBLE; outside its domain a function gives NULL (``sql/worker/macros.sql``).
Names and meanings are those of ADQL 2.1 sections 2.2 and 2.3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from qserv.catalog.tables import DataType
from qserv.dialects.geometry import HEALPIX_INDEX
from qserv.errors import TypeMismatch, UnknownName, UnsupportedQuery
from qserv.plan.aggregates import AGGREGATES
from qserv.plan.expressions import (
    Call,
    Case,
    Cast,
    Expression,
    Literal,
)

Arguments = tuple[Expression, ...]
Typing = Callable[[str, Arguments], tuple[Arguments, DataType]]
"""Checks a call's arguments; returns them converted, and the type of the result."""


@dataclass(frozen=True, slots=True)
class Function:
    """A scalar function: how many arguments, which types, which SQL."""

    least: int
    most: int
    typing: Typing
    sql: str
    """``{0}``, ``{1}`` … stand for the arguments, ``{all}`` for all of them, and
    ``{known}`` for none of them being NULL."""


def cast(node: Expression, datatype: DataType) -> Expression:
    """Return the expression in that type, unchanged where it has it already."""
    if node.datatype is datatype:
        return node
    if isinstance(node, Literal) and datatype is DataType.DOUBLE:
        return Literal(float(node.value), datatype)
    return Cast(node, datatype)


def refused(name: str, wanted: str, arguments: Arguments) -> TypeMismatch:
    """Return the error for arguments of types that a function does not take."""
    given = ", ".join(a.datatype for a in arguments)
    return TypeMismatch(f"{name} takes {wanted}, not ({given})")


def doubles(name: str, arguments: Arguments) -> tuple[Arguments, DataType]:
    """Type what takes numbers, and gives one, as DOUBLE.

    Raises
    ------
    TypeMismatch
        If an argument is no number.
    """
    if not all(a.datatype.is_numeric for a in arguments):
        raise refused(name, "numbers", arguments)
    return tuple(cast(a, DataType.DOUBLE) for a in arguments), DataType.DOUBLE


def _numbers(name: str, arguments: Arguments) -> tuple[Arguments, DataType]:
    if not all(a.datatype.is_numeric for a in arguments):
        raise refused(name, "numbers", arguments)
    whole = all(a.datatype.is_integer for a in arguments)
    datatype = DataType.BIGINT if whole else DataType.DOUBLE
    return tuple(cast(a, datatype) for a in arguments), datatype


def _digits(name: str, arguments: Arguments) -> tuple[Arguments, DataType]:
    """Type ROUND and TRUNCATE: a number, and how many digits (0 when not said)."""
    number, *rest = arguments
    digits = rest[0] if rest else Literal(0, DataType.BIGINT)
    if not (number.datatype.is_numeric and digits.datatype.is_integer):
        raise refused(name, "a number and a whole number of digits", arguments)
    given = cast(number, DataType.DOUBLE), Cast(digits, DataType.INTEGER)
    return given, DataType.DOUBLE


def _texts(name: str, arguments: Arguments) -> tuple[Arguments, DataType]:
    if any(a.datatype is not DataType.VARCHAR for a in arguments):
        raise refused(name, "texts", arguments)
    return arguments, DataType.VARCHAR


def _matches(name: str, arguments: Arguments) -> tuple[Arguments, DataType]:
    return _texts(name, arguments)[0], DataType.BOOLEAN


def _truths(name: str, arguments: Arguments) -> tuple[Arguments, DataType]:
    if any(a.datatype is not DataType.BOOLEAN for a in arguments):
        raise refused(name, "predicates", arguments)
    return arguments, DataType.BOOLEAN


def _anything(name: str, arguments: Arguments) -> tuple[Arguments, DataType]:
    del name
    return arguments, DataType.BOOLEAN


def _alike(name: str, arguments: Arguments) -> tuple[Arguments, DataType]:
    return (given := unify(name, arguments)), given[0].datatype


def _compared(name: str, arguments: Arguments) -> tuple[Arguments, DataType]:
    if not all(a.datatype.is_numeric for a in arguments):
        return unify(name, arguments), DataType.BOOLEAN
    kinds = {a.datatype for a in arguments}
    whole = all(kind.is_integer for kind in kinds)
    if DataType.REAL in kinds and any(kind.is_integer for kind in kinds):
        # DuckDB would round the whole number to a REAL: 16777217 = 16777216.
        return tuple(cast(a, DataType.DOUBLE) for a in arguments), DataType.BOOLEAN
    # DuckDB compares columns in the wider type; a cast here would hide its statistics.
    return tuple(
        a if whole or not isinstance(a, Literal) else cast(a, DataType.DOUBLE)
        for a in arguments
    ), DataType.BOOLEAN


def unify(name: str, arguments: Arguments) -> Arguments:
    """Bring expressions to one type.

    Raises
    ------
    TypeMismatch
        If they have no common type.
    """
    kinds = {a.datatype for a in arguments}
    if len(kinds) == 1:
        return arguments
    if all(k.is_numeric for k in kinds):
        return _numbers(name, arguments)[0]
    if DataType.BOOLEAN in kinds:
        return tuple(_truth(name, a, arguments) for a in arguments)
    if kinds == {DataType.TIMESTAMP, DataType.VARCHAR}:
        return tuple(_moment(name, a, arguments) for a in arguments)
    raise refused(name, "values of one type", arguments)


def _truth(name: str, node: Expression, arguments: Arguments) -> Expression:
    """Read 0 and 1 as booleans, as surveys write their flags."""
    if isinstance(node, Literal) and node.value in {0, 1}:
        return Literal(bool(node.value), DataType.BOOLEAN)
    if node.datatype is DataType.BOOLEAN:
        return node
    raise refused(name, "values of one type", arguments)


def _moment(name: str, node: Expression, arguments: Arguments) -> Expression:
    if isinstance(node, Literal) or node.datatype is DataType.TIMESTAMP:
        return cast(node, DataType.TIMESTAMP)
    raise refused(name, "values of one type", arguments)


def _unary(sql: str, typing: Typing = doubles) -> Function:
    return Function(1, 1, typing, sql)


def _operator(symbol: str, typing: Typing) -> Function:
    return Function(2, 2, typing, f"({{0}} {symbol} {{1}})")


_OPERATORS: Final[dict[str, Function]] = {
    "FINITE": _unary("qserv_finite({0})"),
    "SUBCHUNK": _unary("({0} >> 34)", _numbers),
    "PAIRED": Function(2, 2, doubles, "qserv_paired({0}, {1})"),
    "+": _operator("+", _numbers),
    "-": _operator("-", _numbers),
    "*": _operator("*", _numbers),
    # One sign, two meanings: 7/2 is 3, 7.0/2 is 3.5 (SQL92 section 6.12).
    "/": Function(2, 2, _numbers, "({0} / nullif({1}, 0))"),
    "//": Function(2, 2, _numbers, "({0} // nullif({1}, 0))"),
    "NEGATE": _unary("(-{0})", _numbers),
    "||": _operator("||", _texts),
    **{sign: _operator(sign, _compared) for sign in ("=", "<>", "<", ">", "<=", ">=")},
    "AND": _operator("AND", _truths),
    "OR": _operator("OR", _truths),
    "NOT": _unary("(NOT {0})", _truths),
    "IS NULL": _unary("({0} IS NULL)", _anything),
    "IS TRUE": _unary("({0} IS TRUE)", _truths),
    "IS FALSE": _unary("({0} IS FALSE)", _truths),
    "BETWEEN": Function(3, 3, _compared, "({0} BETWEEN {1} AND {2})"),
    "LIKE": _operator("LIKE", _matches),
    "LIKE ESCAPE": Function(3, 3, _matches, "({0} LIKE {1} ESCAPE {2})"),
    "ILIKE": _operator("ILIKE", _matches),
    "ILIKE ESCAPE": Function(3, 3, _matches, "({0} ILIKE {1} ESCAPE {2})"),
}

_NAMED: Final[dict[str, Function]] = {
    "ABS": _unary("abs({0})", _numbers),
    "CEILING": _unary("ceil({0})"),
    "DEGREES": _unary("degrees({0})"),
    "EXP": _unary("exp({0})"),
    "FLOOR": _unary("floor({0})"),
    "LOG": _unary("qserv_log({0})"),
    "LOG10": _unary("qserv_log10({0})"),
    "MOD": Function(2, 2, _numbers, "({0} % nullif({1}, 0))"),
    "PI": Function(0, 0, doubles, "pi()"),
    "POWER": Function(2, 2, doubles, "pow({0}, {1})"),
    "RADIANS": _unary("radians({0})"),
    "ROUND": Function(1, 2, _digits, "qserv_round({0}, {1})"),
    "SIGN": _unary("sign({0})"),
    "SQRT": _unary("qserv_sqrt({0})"),
    "TRUNCATE": Function(1, 2, _digits, "qserv_truncate({0}, {1})"),
    "ACOS": _unary("qserv_acos({0})"),
    "ASIN": _unary("qserv_asin({0})"),
    "ATAN": _unary("atan({0})"),
    "ATAN2": Function(2, 2, doubles, "atan2({0}, {1})"),
    "COS": _unary("qserv_cos({0})"),
    "COT": _unary("qserv_cot({0})"),
    "SIN": _unary("qserv_sin({0})"),
    "TAN": _unary("qserv_tan({0})"),
    "LOWER": _unary("lower({0})", _texts),
    "UPPER": _unary("upper({0})", _texts),
    "COALESCE": Function(1, 255, _alike, "coalesce({all})"),
    "NULLIF": Function(2, 2, _alike, "nullif({0}, {1})"),
    # SQL:2023 T054: NULL if any argument is; DuckDB's own leave NULLs out.
    "GREATEST": Function(1, 255, _alike, "CASE WHEN {known} THEN greatest({all}) END"),
    "LEAST": Function(1, 255, _alike, "CASE WHEN {known} THEN least({all}) END"),
}

_ALL: Final = {**_OPERATORS, **_NAMED}
_ARITHMETIC: Final = {"+", "-", "*", "/"}
_BOUNDED: Final = {"ACOS", "ASIN", "COS", "COT", "SIN", "TAN"}
"""Functions that are NULL where their argument is no number."""
_CARRIERS: Final = {
    *{"ABS", "ATAN", "CEILING", "DEGREES", "EXP", "FLOOR", "LOG", "LOG10", "RADIANS"},
    *{"ROUND", "SQRT", "TRUNCATE"},
}
"""Functions that are no number where their argument is none."""
_UNBOUNDED: Final = {"DEGREES", "EXP", "MOD", "POWER"}
"""Functions that may be no number whatever their arguments."""

NOT_YET: Final = {"RAND": "it needs a hash of the row's key to be repeatable"}


def sql_of(call: Call, arguments: list[str]) -> str:
    """Return a call's SQL, given the SQL of its arguments."""
    known = " AND ".join(f"{a} IS NOT NULL" for a in arguments)
    listed = ", ".join(arguments)
    return _ALL[call.function].sql.format(*arguments, all=listed, known=known)


def conversion(node: Cast, argument: str) -> str:
    """Return a cast's SQL, given the SQL of its argument."""
    from_text = node.argument.datatype is DataType.VARCHAR
    if from_text and node.datatype is DataType.TIMESTAMP:
        return f"qserv_timestamp({argument})"
    if from_text and node.datatype.is_numeric:
        sql = f"CAST(qserv_numeral({argument}) AS {node.datatype})"
        return sql if node.datatype.is_integer else f"qserv_finite({sql})"
    return f"CAST({argument} AS {node.datatype})"


def operator(name: str, *arguments: Expression) -> Expression:
    """Apply an operator; integer division is chosen by type.

    What is no number (an overflow, the difference of two infinities) is NULL; that is
    decided once, outside all the arithmetic and functions that carry it on.

    Raises
    ------
    TypeMismatch
        If the types do not fit.
    """
    given, datatype = _OPERATORS[name].typing(name, arguments)
    if name == "/" and datatype is DataType.BIGINT:
        name = "//"
    if name not in _ARITHMETIC or datatype is not DataType.DOUBLE:
        return Call(name, given, datatype)
    carried = tuple(map(_unchecked, given))
    if name == "/":
        # Divided by an infinity, everything is 0.
        carried = carried[0], given[1]
    return finite(Call(name, carried, datatype))


def finite(node: Expression) -> Expression:
    """Make a DOUBLE that is no number NULL."""
    return Call("FINITE", (node,), DataType.DOUBLE)


def _unchecked(node: Expression) -> Expression:
    match node:
        case Call("FINITE", (inner,)):
            return inner
        case _:
            return node


def function(name: str, arguments: Arguments) -> Expression:
    """Call a scalar function by the name that the query uses.

    Raises
    ------
    UnknownName
        If there is no such function; says which come close.
    TypeMismatch
        If number or types of the arguments do not fit.
    UnsupportedQuery
        If the function is known but not answered yet.
    """
    key = name.upper()
    if reason := NOT_YET.get(key):
        raise UnsupportedQuery(f"{key} is not answered yet: {reason}")
    if (found := _NAMED.get(key)) is None:
        known = [*_NAMED, *AGGREGATES, "DISTANCE", "CONTAINS", HEALPIX_INDEX]
        close = get_close_matches(key, known, cutoff=0.7)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise UnknownName(f"there is no function {name}{hint}")
    if not found.least <= len(arguments) <= found.most:
        count = _count_of(found)
        raise TypeMismatch(f"{key} takes {count} arguments, not {len(arguments)}")
    given, datatype = found.typing(key, arguments)
    carried = given
    if key in _BOUNDED | _CARRIERS:
        carried = tuple(map(_unchecked, given))
    open_ = key in _UNBOUNDED or (key in _CARRIERS and carried != given)
    call = Call(key, carried, datatype)
    return finite(call) if open_ and datatype is DataType.DOUBLE else call


def _count_of(found: Function) -> str:
    if found.least == found.most:
        return str(found.least)
    return f"{found.least} or {'more' if found.most > 2 else found.most}"


def names() -> tuple[str, ...]:
    """Return what a query may call by name, aggregates last."""
    return (*sorted(_NAMED), *sorted(AGGREGATES))


def is_named(function: str) -> bool:
    """Whether a call is of a function that a query calls by name."""
    return function in _NAMED


def repeats(function: str) -> bool:
    """Whether an argument stands more than once in a call's SQL, macros included."""
    sql = _ALL[function].sql
    return "qserv_" in sql or "nullif" in sql or "{known}" in sql


def castable(source: DataType, target: DataType) -> bool:
    """Whether CAST may turn values of one type into another (SQL92 section 6.10)."""
    if source is target or DataType.VARCHAR in {source, target}:
        return True
    return target.is_numeric and (source.is_numeric or source is DataType.BOOLEAN)


def case(
    branches: tuple[tuple[Expression, Expression], ...], default: Expression | None
) -> Case:
    """Make a CASE; its values are brought to one type.

    Raises
    ------
    TypeMismatch
        If a condition is no predicate or the values have no common type.
    """
    for condition, _ in branches:
        _truths("CASE WHEN", (condition,))
    values = tuple(v for _, v in branches) + (() if default is None else (default,))
    alike = unify("CASE", values)
    pairs = zip((c for c, _ in branches), alike, strict=False)
    last = None if default is None else alike[-1]
    return Case(tuple(pairs), last, alike[0].datatype)
