"""All queries of one catalog: what a process of the fuzzer does at a time."""

import gc
from collections import Counter

from fuzz.compare import DIFFERENT, told
from fuzz.fuzzer import QUERIES_A_CATALOG, minimised, one, queries
from fuzz.tally import Tally

_TOLD: Counter = Counter()
"""How often this process wrote down failures that are alike."""


def ask(seed: int, number: int) -> tuple[Tally, list[str]]:
    """Ask one catalog all its queries; return the counts, and the differences."""
    gc.set_threshold(100_000)
    tally, found = Tally(), []
    start = number * QUERIES_A_CATALOG
    for query, body, known, rng in queries(seed, start):
        if query == start + QUERIES_A_CATALOG:
            break
        outcome, way = one(body, known, rng)
        tally.add(outcome)
        if outcome.kind == DIFFERENT and _is_new(query, outcome):
            where = f"### seed {seed}, query {query}, catalog {known.seed}, {way}"
            found.append(f"{where}\n{_small(body, known, way, outcome)}\n\n")
    return tally, found


def _is_new(query: int, outcome) -> bool:
    alike = outcome.message[:60] if "fails" in outcome.message else str(query)
    _TOLD[alike] += 1
    return _TOLD[alike] <= 2


def _small(body, known, way, outcome) -> str:
    small, again = minimised(body, known, way)
    return told(small, again) if again.kind == DIFFERENT else told(body, outcome)
