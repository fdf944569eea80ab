"""Name and describe the columns of a result."""

from dataclasses import replace
from typing import Final

from qserv.catalog.tables import Column
from qserv.plan import functions
from qserv.plan.expressions import (
    Aggregate,
    Call,
    ColumnRef,
    Expression,
    Scalar,
    Window,
)
from qserv.plan.expressions import Separation as Angle
from qserv.plan.query import Output


def described(expression: Expression, alias: str) -> Column:
    """Say what a result column is; units survive where the value's meaning does."""
    match expression:
        case ColumnRef():
            return replace(expression.column, name=alias or expression.column.name)
        case Aggregate() as aggregate:
            return _described_aggregate(aggregate, alias)
        case Call("FINITE", (Aggregate() as aggregate,)):
            return _described_aggregate(aggregate, alias)
        case Window() | Call("FINITE", (Window(),)):
            name = alias or _name_of(expression)
            return Column(name, expression.datatype)
        case Scalar(body):
            (inner,) = body.columns
            return replace(inner, name=alias or inner.name, nullable=True)
        case Angle():
            unit, ucd = "deg", "pos.angDistance"
            return Column(alias or "distance", expression.datatype, unit=unit, ucd=ucd)
        case _:
            name = alias or _name_of(expression)
            return Column(name, expression.datatype)


_SAME_UNIT: Final = {
    *{"MIN", "MAX", "AVG", "SUM", "MEDIAN", "REGR_AVGY"},
    *{"STDDEV", "STDDEV_SAMP", "STDDEV_POP"},
}


def _described_aggregate(node: Aggregate, alias: str) -> Column:
    unit = ""
    if isinstance(node.argument, ColumnRef) and node.function in _SAME_UNIT:
        unit = node.argument.column.unit
    return Column(alias or node.function.lower(), node.datatype, unit=unit)


def _name_of(expression: Expression) -> str:
    """Name an output without alias: the function's name, where it has one."""
    match expression:
        case Call("FINITE", (inner,)):
            return _name_of(inner)
        case Window(name):
            return name.lower()
        case Call(name) if functions.is_named(name):
            return name.lower()
        case _:
            return "expression"


def unique(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """Tell names that occur again apart: a result's columns have distinct names."""
    seen: set[str] = set()
    unique = []
    for output in outputs:
        name, number = output.column.name, 1
        while name.lower() in seen:
            number += 1
            name = f"{output.column.name}_{number}"
        seen.add(name.lower())
        unique.append(output if number == 1 else _renamed(output, name))
    return tuple(unique)


def _renamed(output: Output, name: str) -> Output:
    return replace(output, column=replace(output.column, name=name))
