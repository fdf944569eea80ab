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


LATE = {
    "copies_of_pairs_dropped": 52,
    "full_join_from_overlap": 359,
    "keys_of_neighbours_not_dilated": 136,
    "m2_replaced_by_squares": 262,
    "not_in_as_restrictor": 37,
    "null_group_finished_locally": 98,
    "offset_ignored": 77,
    "replicated_table_preserved": 278,
    "restrictor_not_dilated": 130,
    "with_run_twice": 213,
}
"""Where bugs are found that are found late: it is looked there first."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug, monkeypatch):
    BUGS[bug](monkeypatch)
    late = first_difference(SEED, LATE[bug] + 1, LATE[bug]) if bug in LATE else None
    found = late or first_difference(SEED, 2000)
    assert found is not None, f"2,000 queries do not find the bug {bug}"
    print(f"{bug}: query {found[0]}: {found[2].message}")
