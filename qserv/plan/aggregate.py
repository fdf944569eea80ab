"""Split a query between the workers and the czar.

``SELECT band, AVG(flux) … GROUP BY band`` becomes, on the workers,
``SELECT band AS k0, sum(flux) AS p0, count(flux) AS p1 … GROUP BY band``, and in the
czar ``SELECT k0, sum(p0) / sum(p1) FROM partials GROUP BY k0``.

==================  ===========================  =====================================
aggregate           partial                      merge
==================  ===========================  =====================================
COUNT               count                        sum; 0 over nothing
SUM                 sum (whole numbers: HUGEINT) sum; overflow is an error
AVG                 sum, count                   sum / sum
MIN, MAX            itself                       itself
STDDEV, VARIANCE …  n, mean, M2                  Σ M2 + Σ n (mean - Mean)²  [1]_
f(DISTINCT x)       x joins the grouping keys    f(DISTINCT x)
==================  ===========================  =====================================

A finer grouping never hurts a merge, so DISTINCT needs no rule of its own for the
aggregates beside it.

.. [1] Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for
   computing sample variances". Sums of squares gave negative variances for MJDs.
"""

from dataclasses import dataclass, field, replace

from qserv.catalog.tables import Column, DataType
from qserv.errors import ParseError
from qserv.plan import functions
from qserv.plan.expressions import (
    Aggregate,
    Call,
    Cast,
    ColumnRef,
    Expression,
    Literal,
    PartialRef,
    map_children,
)
from qserv.plan.query import Ordering, Query


@dataclass(frozen=True, slots=True)
class Split:
    """What workers select, and what the czar makes of it.

    Parameters
    ----------
    columns, selected
        The rows that workers send: names with types, and their expressions.
    grouping
        How many of them, from the first, the workers group by; None for no grouping.
    keys
        What the czar groups by; None for no grouping.
    outputs, having, orderings
        The clauses of the czar's query, over the partials.
    means
        Name of a group's mean -> the partials n and mean that it is made from.
    merged
        Whether the czar has anything to do.
    """

    columns: tuple[Column, ...]
    selected: tuple[Expression, ...]
    grouping: int | None
    keys: tuple[PartialRef, ...] | None
    outputs: tuple[Expression, ...]
    having: Expression | None
    orderings: tuple[Ordering, ...]
    means: tuple[tuple[str, PartialRef, PartialRef], ...]
    merged: bool


def split(query: Query) -> Split:
    """Split a query between workers and czar.

    Raises
    ------
    ParseError
        If a column is neither grouped nor aggregated, or an ordering of distinct rows
        is not among them.
    """
    return _Aggregated(query).split() if query.grouped else _plain(query)


def _plain(query: Query) -> Split:
    merged = bool(query.orderings or query.distinct or query.offset)
    names = [f"c{i}" for i in range(len(query.outputs))]
    columns = [
        replace(o.column, name=name) if merged else o.column
        for o, name in zip(query.outputs, names, strict=True)
    ]
    selected = [o.expression for o in query.outputs]
    orderings = []
    for ordering in query.orderings:
        if ordering.expression not in selected:
            if query.distinct:
                raise ParseError("ORDER BY of SELECT DISTINCT takes selected columns")
            columns.append(Column(f"o{len(selected)}", ordering.expression.datatype))
            selected.append(ordering.expression)
        column = columns[selected.index(ordering.expression)]
        key = PartialRef(column.name, column.datatype)
        orderings.append(replace(ordering, expression=key))
    outputs = tuple(PartialRef(c.name, c.datatype) for c in columns[: len(names)])
    return Split(
        columns=tuple(columns),
        selected=tuple(selected),
        grouping=len(names) if query.distinct else None,
        keys=outputs if query.distinct else None,
        outputs=outputs,
        having=None,
        orderings=tuple(orderings),
        means=(),
        merged=merged,
    )


@dataclass(slots=True)
class _Aggregated:
    """Collects grouping keys and partials while the clauses are rewritten."""

    query: Query
    keys: dict[Expression, PartialRef] = field(default_factory=dict)
    distinct: dict[Expression, PartialRef] = field(default_factory=dict)
    partials: dict[Aggregate, PartialRef] = field(default_factory=dict)
    means: dict[Expression, tuple[str, PartialRef, PartialRef]] = field(
        default_factory=dict
    )

    def split(self) -> Split:
        query = self.query
        for key in query.groups:
            self.keys.setdefault(key, PartialRef(f"k{len(self.keys)}", key.datatype))
        outputs = tuple(self._merge(o.expression) for o in query.outputs)
        having = None if query.having is None else self._merge(query.having)
        orderings = tuple(
            replace(o, expression=self._merge(o.expression)) for o in query.orderings
        )
        if query.distinct and any(o.expression not in outputs for o in orderings):
            raise ParseError("ORDER BY of SELECT DISTINCT takes selected columns")
        if not (self.keys or self.distinct or self.partials):
            # HAVING alone makes one group, and workers must send something.
            self._partial("COUNT", None, DataType.BIGINT)
        sent: dict[Expression, PartialRef] = {**self.keys, **self.distinct}
        sent.update(self.partials.items())
        return Split(
            columns=tuple(Column(r.name, r.datatype) for r in sent.values()),
            selected=tuple(sent),
            grouping=len(self.keys) + len(self.distinct),
            keys=tuple(self.keys.values()),
            outputs=outputs,
            having=having,
            orderings=orderings,
            means=tuple(self.means.values()),
            merged=True,
        )

    def _merge(self, node: Expression) -> Expression:
        """Rewrite an expression of a clause into one over the partials."""
        if node in self.keys:
            return self.keys[node]
        if isinstance(node, Aggregate):
            return self._merge_aggregate(node)
        if isinstance(node, ColumnRef):
            raise ParseError(
                f"column {node.column.name} must stand in GROUP BY "
                "or inside an aggregate"
            )
        return map_children(node, self._merge)

    def _merge_aggregate(self, node: Aggregate) -> Expression:
        if node.argument is None:
            return self._sum(self._partial("COUNT", None, DataType.BIGINT))
        if node.distinct:
            return self._merge_distinct(node, node.argument)
        match node.function:
            case "COUNT":
                partial = self._partial("COUNT", node.argument, DataType.BIGINT)
                return self._sum(partial)
            case "SUM":
                return self._total(node.argument)
            case "AVG":
                count = self._partial("COUNT", node.argument, DataType.BIGINT)
                total = functions.cast(self._total(node.argument, wide=True), _DOUBLE)
                return functions.operator(
                    "/", total, _aggregated("SUM", count, _DOUBLE)
                )
            case "MIN" | "MAX":
                partial = self._partial(node.function, node.argument, node.datatype)
                return _aggregated(node.function, partial, node.datatype)
            case _:
                return self._moment(node.function, node.argument)

    def _merge_distinct(self, node: Aggregate, argument: Expression) -> Expression:
        """Merge an aggregate of distinct values: the values themselves are sent."""
        ref = self.keys.get(argument)
        if ref is None:
            name = f"d{len(self.distinct)}"
            fresh = PartialRef(name, argument.datatype)
            ref = self.distinct.setdefault(argument, fresh)
        merged = replace(node, argument=ref)
        whole = node.datatype.is_integer
        return Cast(merged, node.datatype) if whole else functions.finite(merged)

    def _partial(
        self, function: str, argument: Expression | None, datatype: DataType
    ) -> PartialRef:
        partial = Aggregate(function, argument, False, datatype)
        fresh = PartialRef(f"p{len(self.partials)}", datatype)
        return self.partials.setdefault(partial, fresh)

    def _sum(self, count: PartialRef) -> Expression:
        total = _aggregated("SUM", count, DataType.BIGINT)
        zero = Literal(0, DataType.BIGINT)
        return Call("COALESCE", (Cast(total, DataType.BIGINT), zero), DataType.BIGINT)

    def _total(self, argument: Expression, *, wide: bool = False) -> Expression:
        if not argument.datatype.is_integer:
            partial = self._partial("SUM", argument, _DOUBLE)
            return functions.finite(_aggregated("SUM", partial, _DOUBLE))
        partial = self._partial("SUM", argument, DataType.HUGEINT)
        total = _aggregated("SUM", partial, DataType.HUGEINT)
        return total if wide else Cast(total, DataType.BIGINT)

    def _moment(self, function: str, argument: Expression) -> Expression:
        count = self._partial("COUNT", argument, DataType.BIGINT)
        mean = self._partial("MEAN", argument, _DOUBLE)
        squares = self._partial("M2", argument, _DOUBLE)
        name = f"mean{len(self.means)}"
        group_mean, *_ = self.means.setdefault(argument, (name, count, mean))
        # Plain calls: what has no value must reach the end, not be left out of a sum.
        away = Call("-", (mean, PartialRef(group_mean, _DOUBLE)), _DOUBLE)
        squared = Call("*", (away, away), _DOUBLE)
        between = Call("*", (functions.cast(count, _DOUBLE), squared), _DOUBLE)
        sums = (_aggregated("SUM", part, _DOUBLE) for part in (squares, between))
        second = Call("+", tuple(sums), _DOUBLE)
        over, root = functions.MOMENTS[function]
        number: Expression = _aggregated("SUM", count, _DOUBLE)
        if over == "samp":
            number = functions.operator("-", number, Literal(1.0, _DOUBLE))
        variance = functions.operator("/", second, number)
        return functions.function("SQRT", (variance,)) if root else variance


_DOUBLE = DataType.DOUBLE


def _aggregated(function: str, argument: Expression, datatype: DataType) -> Aggregate:
    return Aggregate(function, argument, False, datatype)
