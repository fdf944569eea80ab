"""The loop: catalogs, queries, the ways they are run, and what was hit."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from fuzz.catalogs import TREES, Catalog, catalog
from fuzz.compare import DIFFERENT, REFUSED, Outcome, Way, check, partitioned
from fuzz.expressions import predicate
from fuzz.grammar import Grammar
from fuzz.nodes import ADQL, Body, Select, smaller
from fuzz.scopes import Scope

QUERIES_A_CATALOG = 250


@dataclass
class Tally:
    """What a run has done so far; it can be written down and read again."""

    queries: int = 0
    same: int = 0
    refused: int = 0
    different: int = 0
    hits: Counter = field(default_factory=Counter)
    refusals: Counter = field(default_factory=Counter)
    rows: int = 0

    def add(self, outcome: Outcome) -> None:
        self.queries += 1
        if outcome.kind == REFUSED:
            self.refused += 1
            self.refusals[_general(outcome.message)] += 1
        elif outcome.kind == DIFFERENT:
            self.different += 1
        else:
            self.same += 1
            self.rows += outcome.rows
            self.hits.update(outcome.hits)


def _general(message: str) -> str:
    """Leave names, numbers and places out of a refusal, so that like ones add up."""
    import re

    text = re.sub(r"line \d+, column \d+: ", "", message)
    text = re.sub(r"\b[a-g o]\d+\b", "x", text)
    return re.sub(r"\d[\d.,e+-]*", "#", text)[:150]


def queries(
    seed: int, start: int = 0
) -> Iterator[tuple[int, Body, Catalog, random.Random]]:
    """Yield queries without end, from the one with that number on."""
    known: tuple[int, Catalog] | None = None
    number = start
    while True:
        which = number // QUERIES_A_CATALOG
        if known is None or known[0] != which:
            known = which, catalog(seed * 100_000 + which)
        name = f"{seed}:{number}"
        made = Grammar(known[1], name).query()
        yield number, made, known[1], random.Random(f"{name} ways")
        number += 1


def ways(rng: random.Random) -> list[Way]:
    """Choose how a query is run: all chunks at once, few at a time, pruned or not."""
    leaves = rng.choices(TREES, [4, 4, 2])[0]
    small = rng.random() < 0.25
    few = [1, 3, 400] if leaves == 12 and not small else [1, 3, 3]
    found = [Way(leaves, rng.choice(few), small=small)]
    if rng.random() < 0.2:
        found.append(Way(leaves, 3 if found[0].parts == 1 else 1, small=not small))
    if rng.random() < 0.12:
        found.append(Way(leaves, 1, pruned=False, small=small))
    return found


def one(body: Body, known: Catalog, rng: random.Random) -> tuple[Outcome, list[Way]]:
    """Check one query."""
    chosen = ways(rng)
    outcome = check(body, known, chosen)
    if outcome.kind == "same" and rng.random() < 0.08 and _can_be_cut(body):
        by = predicate(Scope(rng, known, body.sources))
        more = partitioned(body, by, known, chosen[0])
        if more.kind == DIFFERENT:
            more.plan = outcome.plan
            return more, chosen
        outcome.hits |= more.hits
    return outcome, chosen


def _can_be_cut(body: Body) -> bool:
    if not isinstance(body, Select) or body.grouped or body.distinct:
        return False
    windows = any(" OVER (" in node.adql for node, _ in body.outputs)
    exact = all(node.exact for node, _ in body.outputs)
    return exact and not windows and body.limit is None and not body.offset


def minimised(
    body: Body, known: Catalog, chosen: list[Way], patience: int = 400
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


def first_difference(seed: int, most: int) -> tuple[int, Body, Outcome] | None:
    """Return the first query with another answer than the oracle's, and its number.

    A plan that fails is no wrong answer.
    """
    for number, body, known, rng in queries(seed):
        if number >= most:
            return None
        outcome, _ = one(body, known, rng)
        if outcome.kind == DIFFERENT and "fails" not in outcome.message:
            return number, body, outcome
    return None
