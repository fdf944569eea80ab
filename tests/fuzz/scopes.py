"""What an expression may refer to: the sources of its SELECT, and those around it."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from fuzz.catalogs import Catalog
from fuzz.nodes import Column, Node, Source, Table


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
            for source, column in self._offered(domain)
            if (kinds is None or column.kind in kinds)
            and (domain is None or column.domain == domain)
            and not (exact and column.tolerance is not None)
        ]

    def _offered(self, domain) -> Iterator[tuple[Source | None, Column]]:
        for source in self.every():
            for column in source.columns:
                asked = column.domain == domain
                if not column.stored or asked or self.rng.random() < 0.15:
                    yield source, column
            merged = [c for c in source.columns if c.name in source.merged]
            yield from ((None, column) for column in merged)

    def every(self) -> Iterator[Source]:
        """Yield the sources, those in brackets too."""
        for source in self.sources:
            yield source
            yield from source.nested

    def stored(self) -> list[Source]:
        """Return the partitioned tables."""
        return [s for s in self.every() if is_stored(s)]

    def positions(self) -> list[Source]:
        """Return the sources that have a position."""
        return [s for s in self.every() if has_position(s)]


def is_stored(source: Source) -> bool:
    """Whether rows of a source have homes."""
    return isinstance(source.relation, Table) and any(
        column.stored for column in source.columns
    )


def has_position(source: Source) -> bool:
    return {"ra", "dec"} <= {c.name for c in source.columns if c.domain == c.name}


def column(source: Source | None, offered: Column) -> Node:
    """Return a column of a source; of none, by its bare name."""
    name = offered.name if source is None else f"{source.alias}.{offered.name}"
    return Node(
        name,
        f"{source.alias}.{offered.stored}" if source and offered.stored else name,
        kind=offered.kind,
        tolerance=offered.tolerance,
        rough=offered.rough,
        domain=offered.domain,
        tags=_tags(source, offered),
    )


def _tags(source: Source | None, offered: Column) -> tuple[str, ...]:
    if offered.stored:
        return (f"pseudo-column {offered.name}",)
    return ("merged column",) if source is None else ()


def named(source: Source, name: str) -> Node:
    """Return a column of a source by its name."""
    return column(source, next(c for c in source.columns if c.name == name))


def any_column(scope: Scope, kinds=None, domain=None, *, exact=False) -> Node | None:
    found = scope.columns(kinds, domain, exact=exact)
    if not found:
        return None
    return column(*scope.rng.choice(found))
