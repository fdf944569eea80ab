"""Typed, immutable expressions: what the syntax tree means once its names are bound.

They compare by value, so that ``GROUP BY floor(ra)`` and ``SELECT floor(ra)`` are the
same thing without any search. The union `Expression` is closed: every pass matches on
it, and mypy tells which pass forgot a case.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from typing_extensions import override

from qserv.catalog.tables import Column, DataType
from qserv.sky.ranges import RangeSet
from qserv.sky.regions import Polygon

if TYPE_CHECKING:
    from qserv.plan.query import Body


@dataclass(frozen=True, slots=True)
class ColumnRef:
    """A stored column of the relation with that number."""

    relation: int
    column: Column

    @override
    def __hash__(self) -> int:
        """Hash what tells references apart: descriptions are long, and many."""
        return hash((self.relation, self.column.name))

    @property
    def datatype(self) -> DataType:
        """The column's type."""
        return self.column.datatype


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant of the query."""

    value: int | float | str | bool
    datatype: DataType


@dataclass(frozen=True, slots=True)
class Null:
    """No value: what an outer join puts where it found no partner."""

    datatype: DataType


@dataclass(frozen=True, slots=True)
class Call:
    """A scalar function or operator of `qserv.plan.functions`."""

    function: str
    arguments: tuple["Expression", ...]
    datatype: DataType


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate; ``COUNT(*)`` has no argument, one of pairs has another."""

    function: str
    argument: "Expression | None"
    distinct: bool
    datatype: DataType
    other: "Expression | None" = None


@dataclass(frozen=True, slots=True)
class Cast:
    """A conversion that was asked for, or that an operator implies."""

    argument: "Expression"
    datatype: DataType


@dataclass(frozen=True, slots=True)
class Case:
    """The first value whose condition is true; NULL where ``default`` is None."""

    branches: tuple[tuple["Expression", "Expression"], ...]
    default: "Expression | None"
    datatype: DataType


@dataclass(frozen=True, slots=True)
class InList:
    """Whether the argument equals one of the items."""

    argument: "Expression"
    items: tuple["Expression", ...]
    datatype: DataType = DataType.BOOLEAN


@dataclass(frozen=True, slots=True)
class InValues:
    """Whether the argument equals one of very many constants, all of one type."""

    argument: "Expression"
    values: tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
    kind: DataType
    datatype: DataType = DataType.BOOLEAN


@dataclass(frozen=True, slots=True)
class Position:
    """A place on the sky in degrees, ICRS."""

    lon: "Expression"
    lat: "Expression"

    @property
    def constant(self) -> tuple[float, float] | None:
        """The place when both coordinates are literals."""
        if isinstance(self.lon, Literal) and isinstance(self.lat, Literal):
            return float(self.lon.value), float(self.lat.value)
        return None


@dataclass(frozen=True, slots=True)
class Separation:
    """The angle between two positions, in degrees."""

    first: Position
    second: Position
    datatype: DataType = DataType.DOUBLE


@dataclass(frozen=True, slots=True)
class Near:
    """Whether two positions are within a constant radius in degrees.

    ``closed`` includes the radius itself (CONTAINS, ``<=``).
    """

    first: Position
    second: Position
    radius: float
    closed: bool
    datatype: DataType = DataType.BOOLEAN


@dataclass(frozen=True, slots=True)
class InPolygon:
    """Whether a position is in a constant polygon."""

    position: Position
    polygon: Polygon
    datatype: DataType = DataType.BOOLEAN


@dataclass(frozen=True, slots=True)
class Pixel:
    """The HEALPix NESTED pixel of an order that holds a position."""

    position: Position
    order: int
    datatype: DataType = DataType.BIGINT


@dataclass(frozen=True, slots=True)
class InMoc:
    """Whether a pixel of a position, or of a home, lies in an area.

    ``test`` says the same in other expressions, and is what is written; `moc` is what
    it means for the chunks, even where `test` reads a list that is a stage.
    """

    pixel: "Expression"
    moc: RangeSet
    test: "Expression"
    datatype: DataType = DataType.BOOLEAN


@dataclass(frozen=True, slots=True)
class Ordering:
    """One key of ORDER BY; NULLs come last in both directions unless told."""

    expression: "Expression"
    descending: bool = False
    nulls_first: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """A function over the rows that share the partition's values.

    Parameters
    ----------
    function, arguments, datatype
        Of `qserv.plan.functions`.
    partition, orderings
        PARTITION BY and ORDER BY.
    frame
        ROWS or RANGE and its two bounds, as written anew; empty: the standard's.
    """

    function: str
    arguments: tuple["Expression", ...]
    partition: tuple["Expression", ...]
    orderings: tuple[Ordering, ...]
    frame: str
    datatype: DataType


@dataclass(frozen=True, slots=True)
class Exists:
    """Whether a query has a row."""

    body: "Body"
    datatype: DataType = DataType.BOOLEAN


@dataclass(frozen=True, slots=True)
class InQuery:
    """Whether the argument equals the value of a row of a query of one column."""

    argument: "Expression"
    body: "Body"
    datatype: DataType = DataType.BOOLEAN


@dataclass(frozen=True, slots=True)
class Scalar:
    """The one value of a query of one column: NULL without row, an error with two.

    ``place`` says where the text has it; empty for what gives one row whatever there
    is.
    """

    body: "Body"
    datatype: DataType
    place: str = field(default="", compare=False)


Subquery = Exists | InQuery | Scalar


Expression = (
    ColumnRef
    | Literal
    | Null
    | Call
    | Aggregate
    | Cast
    | Case
    | InList
    | InValues
    | Separation
    | Near
    | InPolygon
    | Pixel
    | InMoc
    | Window
    | Exists
    | InQuery
    | Scalar
)

Mapper = Callable[[Expression], Expression]


def children(node: Expression) -> tuple[Expression, ...]:  # noqa: C901 a case a kind
    """Return the expressions directly below one; those of a subquery are its own."""
    match node:
        case ColumnRef() | Literal() | Null() | Exists() | Scalar():
            return ()
        case InQuery() | InValues():
            return (node.argument,)
        case Window():
            keys = (o.expression for o in node.orderings)
            return (*node.arguments, *node.partition, *keys)
        case Call():
            return node.arguments
        case Aggregate():
            return tuple(a for a in (node.argument, node.other) if a is not None)
        case Cast():
            return (node.argument,)
        case Case():
            default = () if node.default is None else (node.default,)
            return (*(part for branch in node.branches for part in branch), *default)
        case InList():
            return (node.argument, *node.items)
        case Separation() | Near():
            return (node.first.lon, node.first.lat, node.second.lon, node.second.lat)
        case InPolygon() | Pixel():
            return (node.position.lon, node.position.lat)
        case InMoc():
            return (node.pixel, node.test)


def walk(node: Expression) -> Iterator[Expression]:
    """Yield an expression and all below it, outermost first."""
    yield node
    for child in children(node):
        yield from walk(child)


def map_children(  # noqa: C901 a case a kind of node
    node: Expression, mapper: Mapper
) -> Expression:
    """Return the expression with `mapper` applied to what is directly below it."""

    def place(position: Position) -> Position:
        return Position(mapper(position.lon), mapper(position.lat))

    match node:
        case ColumnRef() | Literal() | Null() | Exists() | Scalar():
            return node
        case InQuery() | InValues():
            return replace(node, argument=mapper(node.argument))
        case Window():
            return replace(
                node,
                arguments=tuple(map(mapper, node.arguments)),
                partition=tuple(map(mapper, node.partition)),
                orderings=tuple(
                    replace(o, expression=mapper(o.expression)) for o in node.orderings
                ),
            )
        case Call():
            return replace(node, arguments=tuple(map(mapper, node.arguments)))
        case Aggregate():
            below = None if node.argument is None else mapper(node.argument)
            other = None if node.other is None else mapper(node.other)
            return replace(node, argument=below, other=other)
        case Cast():
            return replace(node, argument=mapper(node.argument))
        case Case():
            branches = tuple((mapper(c), mapper(v)) for c, v in node.branches)
            default = None if node.default is None else mapper(node.default)
            return replace(node, branches=branches, default=default)
        case InList():
            items = tuple(map(mapper, node.items))
            return replace(node, argument=mapper(node.argument), items=items)
        case Separation() | Near():
            return replace(node, first=place(node.first), second=place(node.second))
        case InPolygon() | Pixel():
            return replace(node, position=place(node.position))
        case InMoc():
            return replace(node, pixel=mapper(node.pixel), test=mapper(node.test))


def conjuncts(node: Expression | None) -> tuple[Expression, ...]:
    """Take a predicate apart at its ANDs; none for no predicate."""
    if node is None:
        return ()
    if isinstance(node, Call) and node.function == "AND":
        return tuple(c for part in node.arguments for c in conjuncts(part))
    return (node,)


def conjunction(parts: tuple[Expression, ...]) -> Expression | None:
    """Join predicates by AND; None for none."""
    if not parts:
        return None
    whole = parts[0]
    for part in parts[1:]:
        whole = Call("AND", (whole, part), DataType.BOOLEAN)
    return whole


def has_aggregate(node: Expression) -> bool:
    """Whether an aggregate stands anywhere in the expression."""
    return any(isinstance(n, Aggregate) for n in walk(node))


def has_window(node: Expression) -> bool:
    """Whether a window function stands anywhere in the expression."""
    return any(isinstance(n, Window) for n in walk(node))
