"""Random queries of shapes that the rest of the grammar would not hit by chance."""

from fuzz.expressions import predicate
from fuzz.nodes import Named, Node, Select, SetOp, Source, walk
from fuzz.places import distance
from fuzz.rows import IDS
from fuzz.scopes import Scope, column, named


class Shapes:
    """The part of the grammar that makes whole queries of one shape."""

    def nearest(self) -> Select:
        """Return the k nearest neighbours of each row, by a window over a join."""
        rng = self.rng
        first, second = self.table_source("Object"), self.table_source("Galaxy")
        if rng.random() < 0.4:
            second = self.table_source(rng.choice(["Object", "Star"]))
        second.join, second.on = "JOIN", [self._near(first, second)]
        second.tags = ("join: k nearest",)
        ids = [named(first, "objectId"), named(second, IDS[second.relation.name])]
        down = rng.choice(["", " DESC"])
        over = "ROW_NUMBER() OVER (PARTITION BY {0} ORDER BY {1}%s, {2}%s)"
        parts = [ids[0], distance(first, second), ids[1]]
        nulls = f"{down} NULLS LAST"
        place = Node(over % (down, down), over % (nulls, nulls), parts)
        inner = Select([(ids[0], "c0"), (ids[1], "c1"), (place, "c2")], [first, second])
        source = Source(inner, self.alias())
        outputs = [(named(source, f"c{i}"), f"d{i}") for i in range(3)]
        most = Node("({0} <= 2)", "({0} <= 2)", [outputs[2][0]], "bool")
        return Select(outputs, [source], [most], tags=("node k nearest",))

    def twice(self) -> Select:
        """Return a query that reads some ten rows twice: they must be the same ten."""
        table = self.table_source(self.rng.choice(["Object", "Source", "Galaxy"]))
        key = named(table, IDS[table.relation.name])
        some = Select(
            [(key, "c0")], [table], limit=self.rng.choice([3, 10]), decided=False
        )
        scope = Scope(self.rng, self.catalog, [table])
        some.where = [predicate(scope, 1)] * (self.rng.random() < 0.5)
        offered = Named("w0", some.columns, ("node CTE used twice",))
        first, second = (Source(offered, self.alias()) for _ in range(2))
        second.join = self.rng.choice(["JOIN", "LEFT JOIN"])
        second.on = [_equal_columns(named(first, "c0"), named(second, "c0"))]
        counts = [
            (
                Node("COUNT({0})", "COUNT({0})", [named(s, "c0")], aggregate=True),
                f"d{i}",
            )
            for i, s in enumerate((first, second))
        ]
        return Select(counts, [first, second], ctes=[("w0", some)])

    def statistics(self) -> Select:
        """Return medians and what pairs of columns have in common, by groups."""
        sources, where = self.sources(1)
        scope = Scope(self.rng, self.catalog, sources)
        key = self.group_key(scope) if self.rng.random() < 0.7 else None
        groups = [key] if key is not None else []
        nodes = [*groups, *(self._any_statistic(scope) for _ in range(4))]
        outputs = [(node, f"c{i}") for i, node in enumerate(nodes)]
        return Select(outputs, sources, [*where, *self.where(scope, 0)], groups)

    def _any_statistic(self, scope: Scope) -> Node:
        more = self.rng.random() < 0.65
        return self.statistic(scope) if more else self.moment(scope)

    def star(self) -> Select:
        """Return ``SELECT *`` or names without an alias before them."""
        source = self.table_source()
        scope = Scope(self.rng, self.catalog, [source])
        if self.rng.random() < 0.2:
            count = Node("COUNT(*)", "COUNT(*)", aggregate=True)
            return Select([(count, "c0")], [source], tags=("node bare COUNT(*)",))
        if self.rng.random() < 0.5:
            shown = [c for c in source.columns if not c.stored]
            outputs = [(column(source, c), c.name) for c in shown]
            made = Select(outputs, [source], self.where(scope, 1), star=True)
            made.distinct = self.rng.random() < 0.2
            return made
        source.alias = source.relation.name
        source.bare = True
        made = Select([], [source], self.where(scope, 0))
        self.plain(made, scope, 0, exact=False)
        for node, _ in made.outputs:
            _shorten(node, f"{source.alias}.")
        for node in made.where:
            if not any(isinstance(part, Select | SetOp) for part in walk(node)):
                # In a subquery the name might mean a column of its own.
                _shorten(node, f"{source.alias}.")
        return made


def _equal_columns(left: Node, right: Node) -> Node:
    return Node("({0} = {1})", "({0} = {1})", [left, right], "bool")


def _shorten(node: Node, prefix: str) -> None:
    """Leave the alias out of the names in an expression."""
    node.tags = (*node.tags, "names without alias")
    for part in walk(node):
        if isinstance(part, Node):
            part.adql = part.adql.replace(prefix, "")
