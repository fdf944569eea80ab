"""Write expressions as DuckDB SQL.

Nothing of the user's text is copied: names come from the catalog, numbers are written
anew, texts are bound as parameters.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from qserv.catalog.tables import HEALPIX, UNIT_VECTOR, DataType
from qserv.plan import aggregates, functions
from qserv.plan.depth import free, has_value
from qserv.plan.expressions import (
    Aggregate,
    Call,
    Case,
    Cast,
    ColumnRef,
    Exists,
    Expression,
    InList,
    InMoc,
    InPolygon,
    InQuery,
    InValues,
    Literal,
    Near,
    Null,
    Ordering,
    Pixel,
    Position,
    Scalar,
    Separation,
    Window,
    children,
    has_aggregate,
)
from qserv.plan.plan import Bound
from qserv.plan.query import Body, Relation
from qserv.plan.solve import bare
from qserv.sky import healpix
from qserv.sky.regions import chord2

Vector = tuple[str, str, str]

_FEW: Final = 8
"""Items that are as fast compared one by one."""
_SEVERAL: Final = (
    "this subquery stands for a value and gives more than one row: "
    "take MAX or TOP 1 of them, or ask IN"
)
TYPES: Final = {DataType.HUGEINT: "DECIMAL(38, 0)"}
"""DuckDB's names of types that it calls otherwise."""


def quoted(name: str) -> str:
    """Return a name as a delimited identifier."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def listed(parameter: str, kind: DataType) -> str:
    """Write the query of the values of a list that is bound."""
    return f"SELECT unnest(CAST({parameter} AS {kind}[])) AS value"


def number(value: float) -> str:
    """Return a double so that DuckDB reads the same bits, and no DECIMAL."""
    text = repr(float(value))
    return text if "e" in text else f"{text}e0"


@dataclass(slots=True)
class Writer:
    """Writes expressions, and remembers what they need.

    Parameters
    ----------
    vectors
        Whether tables have stored unit vectors; the tests' oracle has none.
    relations
        The relations that were met, by number.
    parameters
        The texts and lists that were bound, in order, with their numbers: ``$1`` …
    used
        Relation number -> names of the stored columns that were written.
    """

    vectors: bool = True
    relations: dict[int, Relation] = field(default_factory=dict)
    parameters: dict[Bound, int] = field(default_factory=dict)
    used: dict[int, dict[str, None]] = field(default_factory=dict)

    def body(self, body: Body) -> str:
        """Write a query inside an expression; `qserv.plan.statement` knows how."""
        raise NotImplementedError

    def stored(self, relation: int, name: str) -> str:
        """Write a stored column, a system column too."""
        self.used.setdefault(relation, {})[name] = None
        return f"t{relation}.{quoted(name)}"

    def sql(self, node: Expression) -> str:  # noqa: C901 a case a kind of node
        """Write an expression."""
        match node:
            case ColumnRef():
                return self.stored(node.relation, node.column.name)
            case Literal():
                return self._literal(node)
            case Null():
                return f"CAST(NULL AS {TYPES.get(node.datatype, node.datatype)})"
            case Call():
                return functions.sql_of(node, [self.sql(a) for a in node.arguments])
            case Cast():
                return functions.conversion(node, self.sql(node.argument))
            case Case():
                return self._case(node)
            case InList():
                return f"({self.sql(node.argument)} IN ({self._items(node.items)}))"
            case Aggregate():
                return self._aggregate(node)
            case Window():
                return self._window(node)
            case Separation() | Near() | InPolygon() | Pixel() | InMoc():
                return self._geometry(node)
            case InValues():
                values = listed(self._bound(node.values), node.kind)
                return f"({self.sql(node.argument)} IN ({values}))"
            case Exists() | InQuery() | Scalar():
                return self._subquery(node)

    def _items(self, items: tuple[Expression, ...]) -> str:
        """Write the items of a list: many constants as rows, which are hashed."""
        written = ", ".join(map(self.sql, items))
        many = len(items) > _FEW and all(isinstance(i, Literal | Null) for i in items)
        return f"SELECT unnest([{written}])" if many else written

    def _bound(self, value: Bound) -> str:
        """Bind a value to a parameter; one value is one parameter.

        DuckDB takes two of them for different values, and groups by each alone.
        """
        return f"${self.parameters.setdefault(value, len(self.parameters) + 1)}"

    def _subquery(self, node: Exists | InQuery | Scalar) -> str:
        match node:
            case Exists():
                return f"EXISTS ({self.body(node.body)})"
            case InQuery():
                argument, inner = self.sql(node.argument), self.body(node.body)
                if free(node.body) and has_value(node.body):
                    write = _gathered if has_aggregate(node.argument) else _among
                    return write(argument, inner, node.body.columns[0].name)
                return f"({argument} IN ({inner}))"
            case Scalar():
                return f"({self._value(node)})"

    def _value(self, node: Scalar) -> str:
        """Write a subquery for a value, which tells when there are several."""
        inner = self.body(node.body)
        if not node.place:
            return inner
        only = f"any_value(v.{quoted(node.body.columns[0].name)})"
        told = f"error('{node.place}{_SEVERAL}')"
        value = f"CASE WHEN count(*) > 1 THEN {told} ELSE {only} END"
        return f"SELECT {value} FROM ({inner}) AS v"

    def ordered(self, keys: tuple[Ordering, ...]) -> str:
        """Write the keys of ORDER BY: NULLs last in both directions unless told."""
        return ", ".join(f"{self.sql(k.expression)} {direction(k)}" for k in keys)

    def _window(self, node: Window) -> str:
        arguments = [self.sql(a) for a in node.arguments]
        over = []
        if node.partition:
            over.append(f"PARTITION BY {', '.join(map(self.sql, node.partition))}")
        if node.orderings:
            over.append(f"ORDER BY {self.ordered(node.orderings)}")
        if node.frame:
            over.append(node.frame)
        window = f" OVER ({' '.join(over)})"
        if (sql := aggregates.SQL.get(node.function)) is not None:
            called = sql.format(*arguments or ["*"], over=window)
        else:
            called = f"{node.function.lower()}({', '.join(arguments)}){window}"
        return f"CAST({called} AS {node.datatype})"

    def _geometry(self, node: Separation | Near | InPolygon | Pixel | InMoc) -> str:
        match node:
            case Separation():
                return f"qserv_separation({self._vectors(node)})"
            case Near():
                return self._near(node)
            case InPolygon():
                return self._in_polygon(node)
            case Pixel():
                return self._pixel(node)
            case InMoc():
                return self.sql(node.test)

    def _literal(self, node: Literal) -> str:
        match node.value:
            case bool():
                return "TRUE" if node.value else "FALSE"
            case str():
                return f"CAST({self._bound(node.value)} AS VARCHAR)"
            case int():
                return (
                    f"{node.value}::BIGINT"
                    if node.value >= 0
                    else _negative(node.value)
                )
            case float():
                return number(node.value)

    def _case(self, node: Case) -> str:
        branches = " ".join(
            f"WHEN {self.sql(condition)} THEN {self.sql(value)}"
            for condition, value in node.branches
        )
        default = "" if node.default is None else f" ELSE {self.sql(node.default)}"
        return f"CASE {branches}{default} END"

    def _aggregate(self, node: Aggregate) -> str:
        first, *other = map(self.sql, children(node)) if node.argument else ("*",)
        distinct = "DISTINCT " if node.distinct else ""
        return aggregates.SQL[node.function].format(distinct + first, *other, over="")

    def _near(self, node: Near) -> str:
        distance = f"qserv_chord2({self._vectors(node)})"
        if node.radius < 0:
            return f"({distance} < 0)"
        # A half turn holds antipodes: they are within it, but not within less.
        half = node.radius == 180 and not node.closed
        limit = number(4.0 if half else chord2(min(node.radius, 180.0)))
        return f"({distance} {'<=' if node.closed else '<'} {limit})"

    def _vectors(self, node: Separation | Near) -> str:
        return ", ".join((*self.vector(node.first), *self.vector(node.second)))

    def vector(self, position: Position) -> Vector:
        """Write a position as its unit vector: stored, constant, or computed."""
        if self.vectors and (relation := self._owner(position)) is not None:
            x, y, z = (self.stored(relation.number, name) for name in UNIT_VECTOR)
            return x, y, z
        if (place := position.constant) is not None:
            parts = healpix.unit_vectors(np.array([place[0]]), np.array([place[1]]))
            x, y, z = (number(float(part[0])) for part in parts)
            return x, y, z
        lon, lat = self.sql(position.lon), self.sql(position.lat)
        return f"qserv_x({lon}, {lat})", f"qserv_y({lon}, {lat})", f"qserv_z({lat})"

    def _pixel(self, node: Pixel) -> str:
        """Write a pixel: that of the home, where all rows lie at home, or computed."""
        position = Position(bare(node.position.lon), bare(node.position.lat))
        owner = self._owner(position) if self.vectors else None
        if owner is not None and owner.at_home:
            pixel = self.stored(owner.number, HEALPIX)
        else:
            lon, lat = self.sql(node.position.lon), self.sql(node.position.lat)
            pixel = f"qserv_pixel({lon}, {lat})"
        shift = 2 * (healpix.ORDER - node.order)
        return f"({pixel} >> {shift})" if shift else pixel

    def _owner(self, position: Position) -> Relation | None:
        """Return the relation whose declared position this is."""
        if not isinstance(position.lon, ColumnRef):
            return None
        relation = self.relations[position.lon.relation]
        stored = relation.stored
        partitioned = stored is not None and stored.table.partitioned
        return relation if partitioned and relation.position == position else None

    def _in_polygon(self, node: InPolygon) -> str:
        """Write the even-odd test in the gnomonic plane about the polygon's centre."""
        center, east, north, plane = node.polygon.frame()
        vector = self.vector(node.position)
        height, u, v = (_dot(vector, axis) for axis in (center, east, north))
        u, v = f"({u} / {height})", f"({v} / {height})"
        odd = "FALSE"
        for start, end in zip(plane, (*plane[1:], plane[0]), strict=True):
            if start[1] != end[1]:
                odd = f"({odd} <> {_crossing(u, v, start, end)})"
        return f"({height} > 0 AND {odd})"


def _among(argument: str, inner: str, name: str) -> str:
    """Write IN by its definition, once for its rows and once for their NULLs.

    DuckDB (2.0) gives NULL instead of FALSE where the query of an IN depends on the row
    outside, and has another inside that stands for a value.
    """
    value = f"v.{quoted(name)}"
    same = f"SELECT 1 FROM ({inner}) AS v WHERE {value} = {argument}"
    null = f"SELECT 1 FROM ({inner}) AS v WHERE {value} IS NULL OR {argument} IS NULL"
    return (
        f"(CASE WHEN EXISTS ({same}) THEN TRUE WHEN EXISTS ({null}) THEN NULL "
        "ELSE FALSE END)"
    )


def _gathered(argument: str, inner: str, name: str) -> str:
    """Write what `_among` does for an aggregate, which no query inside can compute."""
    values = f"(SELECT list(v.{quoted(name)}) FROM ({inner}) AS v)"
    known = f"CASE WHEN {argument} IS NULL THEN 0 ELSE list_count({values}) END"
    return (
        f"(CASE WHEN list_contains({values}, {argument}) THEN TRUE "
        f"WHEN len({values}) > {known} THEN NULL ELSE FALSE END)"
    )


def _negative(value: int) -> str:
    # -9223372036854775808 is read as minus a number that no BIGINT holds.
    return f"CAST({value} AS BIGINT)"


def _dot(vector: Vector, axis: tuple[float, float, float]) -> str:
    terms = (f"{c} * {number(a)}" for c, a in zip(vector, axis, strict=True))
    return f"({' + '.join(terms)})"


def _crossing(
    u: str, v: str, start: tuple[float, float], end: tuple[float, float]
) -> str:
    """Whether the ray from (u, v) in direction +u crosses one side."""
    (u1, v1), (u2, v2) = start, end
    slope = (u2 - u1) / (v2 - v1)
    return (
        f"((({number(v1)} > {v}) <> ({number(v2)} > {v})) AND "
        f"{u} < {number(u1)} + {number(slope)} * ({v} - {number(v1)}))"
    )


def direction(key: Ordering) -> str:
    """Write what follows a key of ORDER BY."""
    nulls = "FIRST" if key.nulls_first else "LAST"
    return f"{'DESC' if key.descending else 'ASC'} NULLS {nulls}"
