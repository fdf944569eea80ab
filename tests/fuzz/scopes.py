"""What an expression may refer to: the sources of its SELECT, and those around it."""

import random
from dataclasses import dataclass

from fuzz.catalogs import Catalog
from fuzz.nodes import Column, Node, Source


@dataclass
class Scope:
    """The sources of a SELECT, those around it, and the dice."""

    rng: random.Random
    catalog: Catalog
    sources: list[Source]
    outer: "Scope | None" = None

    def columns(self, kinds=None, domain: str | None = None, *, exact: bool = False):
        """Return (source, column) pairs that fit."""
        return [
            (source, column)
            for source in self.sources
            for column in source.columns
            if (kinds is None or column.kind in kinds)
            and (domain is None or column.domain == domain)
            and not (exact and column.tolerance is not None)
        ]

    def positions(self) -> list[Source]:
        """Return the sources that have a position."""
        return [s for s in self.sources if has_position(s)]


def has_position(source: Source) -> bool:
    return {"ra", "dec"} <= {c.name for c in source.columns if c.domain == c.name}


def column(source: Source, offered: Column) -> Node:
    name = f"{source.alias}.{offered.name}"
    return Node(
        name,
        name,
        kind=offered.kind,
        tolerance=offered.tolerance,
        rough=offered.rough,
        domain=offered.domain,
    )


def named(source: Source, name: str) -> Node:
    """Return a column of a source by its name."""
    return column(source, next(c for c in source.columns if c.name == name))


def any_column(scope: Scope, kinds=None, domain=None, *, exact=False) -> Node | None:
    found = scope.columns(kinds, domain, exact=exact)
    if not found:
        return None
    return column(*scope.rng.choice(found))
