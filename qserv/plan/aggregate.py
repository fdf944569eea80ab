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
f(DISTINCT x)       x joins the grouping keys    f(DISTINCT x)
==================  ===========================  =====================================

A finer grouping never hurts a merge, so DISTINCT needs no rule of its own for the
aggregates beside it.

.. [1] Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for
   computing sample variances". Sums of squares gave negative variances for MJDs.
"""

from dataclasses import dataclass, field, replace

from qserv.catalog.tables import Column, DataType
from qserv.plan import functions
from qserv.plan.depth import rebuild
from qserv.plan.expressions import (
    Aggregate,
    Call,
    Cast,
    ColumnRef,
    Exists,
    Expression,
    InQuery,
    Literal,
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
    means: dict[Expression, Output] = field(default_factory=dict)

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
        """Return the rows of the partial part, with each group's mean where needed."""
        stage = self.rows.source
        assert isinstance(stage, StageRows), "partials are the rows of a stage"
        source: Source = replace(stage, columns=columns)
        if self.means:
            sent = tuple(Output(self._ref(c.name, c.datatype), c) for c in columns)
            inner = replace(self.rows, source=source)
            source = Select((inner,), (*sent, *self.means.values()))
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
                partial = self._partial("COUNT", node.argument, DataType.BIGINT)
                return self._sum(partial)
            case "SUM":
                wide = node.datatype is DataType.HUGEINT
                return self._total(node.argument, wide=wide)
            case "AVG":
                return self._average(node.argument)
            case "MIN" | "MAX":
                partial = self._partial(node.function, node.argument, node.datatype)
                return _aggregated(node.function, partial, node.datatype)
            case "MEAN":
                return self._average(node.argument)
            case _:
                return self._moment(node.function, node.argument)

    def _average(self, argument: Expression) -> Expression:
        count = self._partial("COUNT", argument, DataType.BIGINT)
        total = functions.cast(self._total(argument, wide=True), _DOUBLE)
        return functions.operator("/", total, _aggregated("SUM", count, _DOUBLE))

    def _merge_distinct(self, node: Aggregate, argument: Expression) -> Expression:
        """Merge an aggregate of distinct values: the values themselves are sent."""
        ref = self.keys.get(argument)
        if ref is None:
            fresh = self._ref(f"d{len(self.distinct)}", argument.datatype)
            ref = self.distinct.setdefault(argument, fresh)
        merged = replace(node, argument=ref)
        whole = node.datatype.is_integer
        return Cast(merged, node.datatype) if whole else merged

    def _partial(
        self, function: str, argument: Expression | None, datatype: DataType
    ) -> ColumnRef:
        partial = Aggregate(function, argument, False, datatype)
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
        count = self._partial("COUNT", argument, DataType.BIGINT)
        mean = self._partial("MEAN", argument, _DOUBLE)
        squares = self._partial("M2", argument, _DOUBLE)
        group_mean = self._mean(argument, count, mean)
        # Plain calls: what has no value must reach the end, not be left out of a sum.
        away = Call("-", (mean, group_mean), _DOUBLE)
        squared = Call("*", (away, away), _DOUBLE)
        between = Call("*", (functions.cast(count, _DOUBLE), squared), _DOUBLE)
        sums = (_aggregated("SUM", part, _DOUBLE) for part in (squares, between))
        second = Call("+", tuple(sums), _DOUBLE)
        if function == "M2":
            return second
        over, root = functions.MOMENTS[function]
        number: Expression = _aggregated("SUM", count, _DOUBLE)
        if over == "samp":
            number = functions.operator("-", number, Literal(1.0, _DOUBLE))
        variance = functions.operator("/", second, number)
        return functions.function("SQRT", (variance,)) if root else variance

    def _mean(
        self, argument: Expression, count: ColumnRef, mean: ColumnRef
    ) -> ColumnRef:
        """Put the mean of the whole group beside each of its partials."""
        if argument not in self.means:
            column = Column(f"mean{len(self.means)}", _DOUBLE)
            rows = functions.cast(count, _DOUBLE)
            total = self._over(Call("*", (rows, mean), _DOUBLE))
            value = Call("/", (total, self._over(rows)), _DOUBLE)
            self.means[argument] = Output(value, column)
        return ColumnRef(self.rows.number, self.means[argument].column)

    def _over(self, value: Expression) -> Window:
        keys = tuple(self.keys[key] for key in dict.fromkeys(self.body.groups))
        return Window("SUM", (value,), keys, (), "", _DOUBLE)


_DOUBLE = DataType.DOUBLE


def _aggregated(function: str, argument: Expression, datatype: DataType) -> Aggregate:
    return Aggregate(function, argument, False, datatype)
