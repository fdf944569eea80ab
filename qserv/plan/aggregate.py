"""Split a grouped SELECT between the workers and the czar.

``SELECT band, AVG(flux) … GROUP BY band`` becomes, on the workers,
``SELECT band AS k0, sum(flux) AS p0, count(flux) AS p1 … GROUP BY band``, and in the
czar ``SELECT k0, sum(p0) / sum(p1) FROM stage_0 GROUP BY k0``.

==================  ===========================  =====================================
aggregate           partial                      merge
==================  ===========================  =====================================
COUNT               count                        sum; 0 over nothing
SUM                 sum (whole numbers: HUGEINT) sum; overflow is an error
AVG                 sum, count                   sum / sum
MIN, MAX            itself                       itself
STDDEV, VARIANCE …  n, mean, M2                  Σ M2 + Σ n (mean - Mean)²  [1]_
CORR, COVAR_POP,    n; mean, M2 of x and of y;   as M2, and Σ Mxy +
REGR_SLOPE …        Mxy; all of pairs            Σ n (mx - Mx) (my - My)
f(DISTINCT x)       x joins the grouping keys    f(DISTINCT x)
MEDIAN              x joins the keys; count      the values that half of n reaches
==================  ===========================  =====================================

A finer grouping never hurts a merge, so DISTINCT needs no rule of its own for the
aggregates beside it.

Where all means are the same, so is their mean, to the last bit: what is the same in all
chunks does not vary, and has no correlation.

.. [1] Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for
   computing sample variances". Sums of squares gave negative variances for MJDs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from qserv.catalog.tables import Column, DataType
from qserv.plan import functions
from qserv.plan.aggregates import MOMENTS
from qserv.plan.depth import rebuild
from qserv.plan.expressions import (
    Aggregate,
    Call,
    Case,
    Cast,
    ColumnRef,
    Exists,
    Expression,
    InQuery,
    Literal,
    Ordering,
    Scalar,
    Window,
    map_children,
)
from qserv.plan.query import Output, Relation, Select, Source, StageRows


@dataclass(frozen=True, slots=True)
class Split:
    """A grouped SELECT in two: what workers select, and what is made of their rows.

    Parameters
    ----------
    partial
        The part of the workers, over the relations of the whole.
    whole
        The rest, over the rows of `partial`.
    """

    partial: Select
    whole: Select


def split(body: Select, rows: Relation) -> Split:
    """Split a grouped SELECT.

    Parameters
    ----------
    body
        The SELECT, with ORDER BY and LIMIT.
    rows
        A relation for the rows of the partial part; its columns are found here.
    """
    return _Splitter(body, rows).split()


@dataclass(slots=True)
class _Splitter:
    """Collects grouping keys and partials while the clauses are rewritten."""

    body: Select
    rows: Relation
    keys: dict[Expression, ColumnRef] = field(default_factory=dict)
    distinct: dict[Expression, ColumnRef] = field(default_factory=dict)
    partials: dict[Aggregate, ColumnRef] = field(default_factory=dict)
    beside: dict[Expression, Output] = field(default_factory=dict)

    def split(self) -> Split:
        body = self.body
        for key in body.groups:
            self.keys.setdefault(key, self._ref(f"k{len(self.keys)}", key.datatype))
        outputs = tuple(
            replace(o, expression=self._merge(o.expression)) for o in body.outputs
        )
        having = None if body.having is None else self._merge(body.having)
        orderings = tuple(
            replace(o, expression=self._merge(o.expression)) for o in body.orderings
        )
        if not (self.keys or self.distinct or self.partials):
            # HAVING alone makes one group, and workers must send something.
            self._partial("COUNT", None, DataType.BIGINT)
        sent: dict[Expression, ColumnRef] = {**self.keys, **self.distinct}
        grouping = tuple(sent)
        sent.update(self.partials.items())
        partial = Select(
            relations=body.relations,
            outputs=tuple(Output(e, ref.column) for e, ref in sent.items()),
            where=body.where,
            groups=grouping,
            grouped=True,
            neighbours=body.neighbours,
        )
        whole = Select(
            relations=(self._source(partial.columns),),
            outputs=outputs,
            distinct=body.distinct,
            groups=tuple(self.keys.values()),
            having=having,
            orderings=orderings,
            limit=body.limit,
            offset=body.offset,
            grouped=True,
        )
        return Split(partial, whole)

    def _ref(self, name: str, datatype: DataType) -> ColumnRef:
        return ColumnRef(self.rows.number, Column(name, datatype))

    def _source(self, columns: tuple[Column, ...]) -> Relation:
        """Return the rows of the partial part, with what is needed of their groups."""
        stage = self.rows.source
        assert isinstance(stage, StageRows), "partials are the rows of a stage"
        source: Source = replace(stage, columns=columns)
        if self.beside:
            sent = tuple(Output(self._ref(c.name, c.datatype), c) for c in columns)
            inner = replace(self.rows, source=source)
            source = Select((inner,), (*sent, *self.beside.values()))
        return replace(self.rows, source=source)

    def _merge(self, node: Expression) -> Expression:
        """Rewrite an expression of a clause into one over the partials."""
        if node in self.keys:
            return self.keys[node]
        match node:
            case Call("FINITE", (Aggregate() as inner,)):
                merged = self._merge_aggregate(inner)
                checked = isinstance(merged, Call) and merged.function == "FINITE"
                return merged if checked else functions.finite(merged)
            case Aggregate():
                return self._merge_aggregate(node)
            case _:
                pass
        if isinstance(node, ColumnRef):
            return self._key(node)
        changed = map_children(node, self._merge)
        if isinstance(changed, Exists | InQuery | Scalar):
            return replace(changed, body=rebuild(changed.body, self._key))
        return changed

    def _key(self, node: ColumnRef) -> Expression:
        if node in self.keys:
            return self.keys[node]
        assert all(r.number != node.relation for r in self.body.relations), (
            "bound groups are checked"
        )
        return node

    def _merge_aggregate(self, node: Aggregate) -> Expression:
        if node.argument is None:
            return self._sum(self._partial("COUNT", None, DataType.BIGINT))
        if node.distinct:
            return self._merge_distinct(node, node.argument)
        match node.function:
            case "COUNT":
                return self._sum(self._count(node.argument))
            case "SUM":
                wide = node.datatype is DataType.HUGEINT
                return self._total(node.argument, wide=wide)
            case "AVG":
                return self._average(node.argument)
            case "MIN" | "MAX":
                partial = self._partial(node.function, node.argument, node.datatype)
                return _aggregated(node.function, partial, node.datatype)
            case "MEDIAN":
                return self._median(node.argument)
            case _:
                return self._merge_moment(node, node.argument)

    def _merge_moment(self, node: Aggregate, argument: Expression) -> Expression:
        match node.function:
            case "MEAN":
                return self._mean(argument, _aggregated)
            case "M2":
                return self._squares(argument)
            case name if name in MOMENTS:
                return self._moment(name, argument)
            case _:
                assert node.other is not None, "what is left is of pairs"
                return self._paired(node.function, argument, node.other)

    def _average(self, argument: Expression) -> Expression:
        number = self._number(argument)
        total = functions.cast(self._total(argument, wide=True), _DOUBLE)
        return functions.operator("/", total, number)

    def _number(self, argument: Expression) -> Expression:
        """Return how many values there are, as a DOUBLE."""
        return _aggregated("SUM", self._count(argument), _DOUBLE)

    def _count(self, argument: Expression) -> ColumnRef:
        """Count the values; of a pair one or the other, which is the same."""
        match argument:
            case Call("PAIRED", (one, other)):
                first, second = sorted((one, other), key=repr)
                argument = functions.operator("PAIRED", first, second)
            case _:
                pass
        return self._partial("COUNT", argument, DataType.BIGINT)

    def _merge_distinct(self, node: Aggregate, argument: Expression) -> Expression:
        merged = replace(node, argument=self._sent(argument))
        whole = node.datatype.is_integer
        return Cast(merged, node.datatype) if whole else merged

    def _sent(self, argument: Expression) -> ColumnRef:
        """Return a value that is itself sent, each of a group's once."""
        if (key := self.keys.get(argument)) is not None:
            return key
        fresh = self._ref(f"d{len(self.distinct)}", argument.datatype)
        return self.distinct.setdefault(argument, fresh)

    def _median(self, argument: Expression) -> Expression:
        """Return the mean of the first value that half of all reach, and exceed."""
        value = self._sent(argument)
        count = self._count(argument)
        upto, number = (
            self._near(self._over("SUM", count, DataType.BIGINT, order))
            for order in ((Ordering(value),), ())
        )
        twice = functions.operator("*", upto, Literal(2, DataType.BIGINT))
        halves = []
        for sign in (">=", ">"):
            reached = functions.operator(sign, twice, number)
            first = Case(((reached, value),), None, _DOUBLE)
            least = _aggregated("MIN", first, _DOUBLE)
            halves.append(functions.operator("*", least, Literal(0.5, _DOUBLE)))
        return functions.operator("+", *halves)

    def _partial(
        self,
        function: str,
        argument: Expression | None,
        datatype: DataType,
        other: Expression | None = None,
    ) -> ColumnRef:
        partial = Aggregate(function, argument, False, datatype, other)
        fresh = self._ref(f"p{len(self.partials)}", datatype)
        return self.partials.setdefault(partial, fresh)

    def _sum(self, count: ColumnRef) -> Expression:
        total = _aggregated("SUM", count, DataType.BIGINT)
        zero = Literal(0, DataType.BIGINT)
        return Call("COALESCE", (Cast(total, DataType.BIGINT), zero), DataType.BIGINT)

    def _total(self, argument: Expression, *, wide: bool = False) -> Expression:
        if not argument.datatype.is_integer:
            partial = self._partial("SUM", argument, _DOUBLE)
            return _aggregated("SUM", partial, _DOUBLE)
        partial = self._partial("SUM", argument, DataType.HUGEINT)
        total = _aggregated("SUM", partial, DataType.HUGEINT)
        return total if wide else Cast(total, DataType.BIGINT)

    def _moment(self, function: str, argument: Expression) -> Expression:
        over, root = MOMENTS[function]
        number = self._number(argument)
        variance = _mean_of(self._squares(argument), number, sample=over == "samp")
        return functions.function("SQRT", (variance,)) if root else variance

    def _paired(self, function: str, y: Expression, x: Expression) -> Expression:
        ys, xs = functions.operator("PAIRED", y, x), functions.operator("PAIRED", x, y)
        match function:
            case "REGR_COUNT":
                return self._sum(self._count(ys))
            case "REGR_AVGX" | "REGR_AVGY":
                return self._average(xs if function == "REGR_AVGX" else ys)
            case "REGR_SXX" | "REGR_SYY":
                return self._squares(xs if function == "REGR_SXX" else ys)
            case _:
                pass
        number, products = self._number(ys), self._products(y, x)
        match function:
            case "REGR_SXY" | "MXY":
                return products
            case "COVAR_POP" | "COVAR_SAMP":
                return _mean_of(products, number, sample=function == "COVAR_SAMP")
            case _:
                return self._fitted(function, ys, xs, products)

    def _fitted(
        self, function: str, ys: Expression, xs: Expression, sxy: Expression
    ) -> Expression:
        """Return what is divided by how much the pairs vary; NULL if they do not."""
        sxx, syy = (functions.finite(self._squares(v)) for v in (xs, ys))
        slope = functions.operator("/", sxy, sxx)
        match function:
            case "REGR_SLOPE":
                return slope
            case "REGR_INTERCEPT":
                rise = functions.operator("*", slope, self._average(xs))
                return functions.operator("-", self._average(ys), rise)
            case "REGR_R2":
                share = functions.operator("/", sxy, syy)
                explained = functions.operator("*", slope, share)
                flat = functions.operator("=", syy, _NOTHING)
                one = functions.operator("/", sxx, sxx)
                return functions.case(((flat, one),), explained)
            case _:
                spreads = (functions.function("SQRT", (s,)) for s in (sxx, syy))
                spread = functions.operator("*", *spreads)
                return functions.operator("/", sxy, spread)

    # Plain calls below: what has no value must reach the end, not be left out of a sum.

    def _squares(self, argument: Expression) -> Expression:
        away = self._away(argument)
        squares = self._partial("M2", argument, _DOUBLE)
        return self._between(squares, argument, away, away)

    def _products(self, y: Expression, x: Expression) -> Expression:
        ys, xs = functions.operator("PAIRED", y, x), functions.operator("PAIRED", x, y)
        aways = self._away(ys), self._away(xs)
        products = self._partial("MXY", y, _DOUBLE, x)
        return self._between(products, ys, *aways)

    def _between(
        self, within: ColumnRef, counted: Expression, one: Expression, other: Expression
    ) -> Expression:
        """Add what lies between the partials to what lies within them."""
        count = self._count(counted)
        product = Call("*", (one, other), _DOUBLE)
        between = Call("*", (functions.cast(count, _DOUBLE), product), _DOUBLE)
        sums = (_aggregated("SUM", part, _DOUBLE) for part in (within, between))
        return Call("+", tuple(sums), _DOUBLE)

    def _away(self, argument: Expression) -> Expression:
        """Return how far the mean of a partial is from that of its group."""
        group_mean = self._near(self._mean(argument, self._over))
        mean = self._partial("MEAN", argument, _DOUBLE)
        return Call("-", (mean, group_mean), _DOUBLE)

    def _mean(self, argument: Expression, merged: "Merge") -> Expression:
        """Return the mean of partial means; of equal ones exactly that."""
        count = self._count(argument)
        mean = self._partial("MEAN", argument, _DOUBLE)
        rows = functions.cast(count, _DOUBLE)
        low, high = (merged(name, mean, _DOUBLE) for name in ("MIN", "MAX"))
        total = merged("SUM", Call("*", (rows, mean), _DOUBLE), _DOUBLE)
        weighted = Call("/", (total, merged("SUM", rows, _DOUBLE)), _DOUBLE)
        return Case(((functions.operator("=", low, high), low),), weighted, _DOUBLE)

    def _near(self, value: Expression) -> ColumnRef:
        """Put a value of the whole group beside each of its partials."""
        if value not in self.beside:
            column = Column(f"g{len(self.beside)}", value.datatype)
            self.beside[value] = Output(value, column)
        return ColumnRef(self.rows.number, self.beside[value].column)

    def _over(
        self,
        function: str,
        value: Expression,
        datatype: DataType,
        order: tuple[Ordering, ...] = (),
    ) -> Window:
        keys = tuple(self.keys[key] for key in dict.fromkeys(self.body.groups))
        return Window(function, (value,), keys, order, "", datatype)


Merge = Callable[[str, Expression, DataType], Expression]
_DOUBLE = DataType.DOUBLE
_NOTHING = Literal(0.0, _DOUBLE)


def _aggregated(function: str, argument: Expression, datatype: DataType) -> Aggregate:
    return Aggregate(function, argument, False, datatype)


def _mean_of(total: Expression, number: Expression, *, sample: bool) -> Expression:
    if sample:
        number = Call("-", (number, Literal(1.0, _DOUBLE)), _DOUBLE)
    return functions.operator("/", total, number)
