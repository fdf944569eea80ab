"""A few thousand random queries, and the bugs that they must find."""

import time

import pytest
from fuzz.bugs import BUGS
from fuzz.compare import DIFFERENT, told
from fuzz.fuzzer import first_difference, minimised, one, queries
from fuzz.tally import Tally

SEED = 20_251
SECONDS = 40


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_what_chunks_answer_is_what_the_oracle_answers(seed):
    """As many queries as there is time for; ``make fuzz`` has more of it."""
    tally, until = Tally(), time.monotonic() + SECONDS
    for number, body, known, rng in queries(seed):
        if time.monotonic() > until or number > 3000:
            break
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
