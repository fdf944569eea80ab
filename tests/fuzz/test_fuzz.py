"""A thousand random queries, and the bugs that they must find."""

from itertools import islice

import pytest
from fuzz.bugs import BUGS
from fuzz.compare import DIFFERENT, told
from fuzz.fuzzer import first_difference, minimised, one, queries
from fuzz.tally import Tally

SEED = 20_251
QUERIES = 500
"""Of each seed: two catalogs. The same on any machine, however busy it is."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_what_chunks_answer_is_what_the_oracle_answers(seed):
    """Two catalogs of each seed; ``make fuzz`` asks for longer."""
    tally = Tally()
    for number, body, known, rng in islice(queries(seed), QUERIES):
        outcome, chosen = one(body, known, rng)
        tally.add(outcome)
        if outcome.kind == DIFFERENT:
            small, again = minimised(body, known, chosen)
            pytest.fail(f"seed {seed}, query {number}\n{told(small, again)}")
    assert tally.same > 0


@pytest.mark.timeout(900)
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug, monkeypatch):
    BUGS[bug](monkeypatch)
    found = first_difference(SEED, 2000)
    assert found is not None, f"2,000 queries do not find the bug {bug}"
    print(f"{bug}: query {found[0]}: {found[2].message}")
