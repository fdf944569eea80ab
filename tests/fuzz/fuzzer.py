"""The loop: catalogs, queries, the ways they are run, and what was hit."""

import random
from collections.abc import Iterator

from fuzz.catalogs import TREES, Catalog
from fuzz.compare import DIFFERENT, Outcome, Way, check, partitioned
from fuzz.expressions import predicate
from fuzz.grammar import Grammar
from fuzz.nodes import ADQL, Body, Select
from fuzz.scopes import Scope
from fuzz.smaller import smaller
from fuzz.views import viewed

QUERIES_A_CATALOG = 250


def queries(
    seed: int, start: int = 0
) -> Iterator[tuple[int, Body, Catalog, random.Random]]:
    """Yield queries without end, from the one with that number on."""
    known: tuple[int, Catalog] | None = None
    number = start
    while True:
        which = number // QUERIES_A_CATALOG
        if known is None or known[0] != which:
            known = which, viewed(seed * 100_000 + which)
        name = f"{seed}:{number}"
        made = Grammar(known[1], name).query()
        yield number, made, known[1], random.Random(f"{name} ways")
        number += 1


def chosen_way(rng: random.Random) -> Way:
    """Choose how a query is run: all chunks at once, few at a time, pruned or not."""
    leaves = rng.choices(TREES, [4, 4, 2])[0]
    small = rng.random() < 0.35
    single = leaves == TREES[0] and not small
    parts = rng.choices((1, 2, 400), (6, 4, 2) if single else (6, 5, 0))[0]
    return Way(leaves, parts, pruned=rng.random() > 0.1, small=small)


def one(body: Body, known: Catalog, rng: random.Random) -> tuple[Outcome, Way]:
    """Check one query."""
    chosen = chosen_way(rng)
    outcome = check(body, known, chosen)
    if outcome.kind == "same" and rng.random() < 0.06 and _can_be_cut(body):
        by = predicate(Scope(rng, known, body.sources))
        more = partitioned(body, by, known, chosen, outcome.found)
        if more.kind == DIFFERENT:
            more.plan = outcome.plan
            return more, chosen
        outcome.hits |= more.hits
    return outcome, chosen


def _can_be_cut(body: Body) -> bool:
    if not isinstance(body, Select) or body.grouped or body.distinct:
        return False
    windows = any(" OVER " in node.adql for node, _ in body.outputs)
    exact = all(node.exact for node, _ in body.outputs)
    return exact and not windows and body.limit is None and not body.offset


def minimised(
    body: Body, known: Catalog, chosen: Way, patience: int = 400
) -> tuple[Body, Outcome]:
    """Leave out of a query whatever its difference does not need."""
    outcome = check(body, known, chosen)
    kind = outcome.message.split(":")[0][:20]
    shrunk = True
    while shrunk and outcome.kind == DIFFERENT and patience > 0:
        shrunk = False
        for less in smaller(body):
            if len(less.text(ADQL)) >= len(body.text(ADQL)):
                continue
            patience -= 1
            tried = check(less, known, chosen)
            alike = (
                tried.message.split(":")[0][:20] == kind or "fails" not in tried.message
            )
            if tried.kind == DIFFERENT and alike:
                body, outcome, shrunk = less, tried, True
                break
            if patience <= 0:
                break
    return body, outcome


def first_difference(
    seed: int, most: int, start: int = 0
) -> tuple[int, Body, Outcome] | None:
    """Return the first query with another answer than the oracle's, and its number.

    A plan that fails is no wrong answer.
    """
    for number, body, known, rng in queries(seed, start):
        if number >= most:
            return None
        outcome, _ = one(body, known, rng)
        if outcome.kind == DIFFERENT and "fails" not in outcome.message:
            return number, body, outcome
    return None
