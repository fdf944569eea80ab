"""What the fuzzer found once is right on every tree, in any batches, and stays so."""

from collections import Counter
from pathlib import Path

import pytest
from fuzz.catalogs import TREES, catalog
from fuzz.compare import rows_of

from qserv.plan.limits import DEFAULT_SIZES, Sizes
from qserv.plan.planner import plan

SMALL = Sizes(broadcast=800.0, merge=1000.0, bucket=700.0)


def cases():
    """Yield what is compared, the query, and its meaning, from the text file."""
    text = Path(__file__).with_name("found.test").read_text(encoding="utf-8")
    for block in text.split("\n\n"):
        head, *lines = block.strip().split("\n")
        if not head.startswith("#"):
            compared, _, name = head.partition(" ")
            query, _, meaning = "\n".join(lines).partition("\n----\n")
            yield pytest.param(compared, query, meaning, id=name)


@pytest.fixture(scope="module")
def skies():
    return [catalog(1), catalog(3)]


@pytest.mark.parametrize(("compared", "query", "meaning"), list(cases()))
def test_what_was_found_is_right(compared, query, meaning, skies):
    for known in skies:
        expected = rows_of(known.oracle.sql(meaning).to_arrow_table())
        for leaves, sizes in ((n, s) for n in TREES for s in (DEFAULT_SIZES, SMALL)):
            world = known.worlds[leaves]
            made = plan(query, world.snapshot, sizes=sizes)
            for parts in (1, 400 if leaves == 12 else 3):
                found = rows_of(world.start(made, parts=parts, tight=True).answer())
                if compared == "count":
                    assert len(found) == len(expected)
                else:
                    assert Counter(found) == Counter(expected), (leaves, parts)
