"""Random joins with pairs of director keys: through either key, both, or each other."""

from fuzz.nodes import Node, Source
from fuzz.places import near
from fuzz.scopes import Scope, named

_KEYS = {
    "Object": ["objectId"],
    "Source": ["objectId"],
    "Forced": ["objectId"],
    "Ref": ["refId"],
    "Match": ["objectId", "refId"],
    "Twin": ["objectId", "twinId"],
}
_REFERS = {"objectId": "Object", "twinId": "Object", "refId": "Ref"}
_PAIRS = ("Match", "Match", "Twin")


class Paired:
    """The part of the grammar that joins with pairs."""

    def _pairs(self):
        """Join two to four tables, each to one before it, by keys of one director."""
        rng = self.rng
        first = self.table_source(rng.choice([*_PAIRS, "Object", "Ref", "Source"]))
        made, where = [first], []
        if first.relation.name not in _PAIRS:
            where += self._linked(made, rng.choice(_to(first)))
        for _ in range(rng.choice([0, 1, 1, 2])):
            where += self._linked(made, rng.choice(sorted(_KEYS)))
        if len(made) == 1:
            where += self._linked(made, rng.choice(["Object", "Ref", "Source"]))
        if rng.random() < 0.3:
            scope = Scope(rng, self.catalog, [rng.choice(made)])
            where += [key] if (key := self.key(scope)) is not None else []
        return made, where

    def _linked(self, made: list[Source], name: str) -> list[Node]:
        """Join one more table, if it has a key that one of the others has."""
        rng = self.rng
        links = [
            (source, here, there)
            for source in made
            for here in _KEYS[source.relation.name]
            for there in _KEYS[name]
            if _REFERS[here] == _REFERS[there]
        ]
        if not links:
            return []
        before, here, there = rng.choice(links)
        source = self.table_source(name)
        on = [equal(named(before, here), named(source, there), rng)]
        if rng.random() < 0.12:
            on += self._near_too(made, source)
        made.append(source)
        where = self._joined(source, [*on, *self._more_on(before, source)], "pairs")
        source.tags += _told(before.relation.name, here, name, there)
        if source.join == "LEFT JOIN" and rng.random() < 0.2:
            lone = Node(
                "({0} IS NULL)", "({0} IS NULL)", [named(source, there)], "bool"
            )
            lone.tags = ("join: pairs anti",)
            where.append(lone)
        return where

    def _near_too(self, made: list[Source], source: Source) -> list[Node]:
        """Ask that what a key joins is near as well."""
        placed = ("Object", "Ref", "Source")
        others = [s for s in made if s.relation.name in placed]
        if source.relation.name not in placed or not others:
            return []
        source.tags += ("join: pairs, near",)
        other = self.rng.choice(others)
        return [near(other, source, self._radius(), "<=", self.rng.randrange(4))]


def _to(source: Source) -> list[str]:
    """Return the tables of pairs that a source can be joined with."""
    refers = {_REFERS[key] for key in _KEYS[source.relation.name]}
    return [t for t in _PAIRS if refers & {_REFERS[key] for key in _KEYS[t]}]


def _told(one: str, here: str, other: str, there: str) -> tuple[str, ...]:
    found = []
    for name, key in ((one, here), (other, there)):
        if name in _PAIRS:
            place = "first" if key == _KEYS[name][0] else "second"
            found.append(f"join: pairs by the {place} key")
    if one in _PAIRS and other in _PAIRS:
        found.append("join: pairs with pairs")
    return tuple(found)


def equal(left: Node, right: Node, rng) -> Node:
    """Equate two columns, in either order."""
    if rng.random() < 0.5:
        left, right = right, left
    return Node("({0} = {1})", "({0} = {1})", [left, right], "bool")
