"""Who can run the chunks of a fragment."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support import metadata
from support.fake_planning import fragment
from support.fake_worker import COLUMNS

from qserv.catalog.snapshot import EVERYWHERE
from qserv.czar.tasks import replicas
from qserv.plan.plan import Extent, Route, ScanSource

COPY = ScanSource("other", "Filter", 1, Extent.COPY, COLUMNS)
OWN = fragment().sources
PLACED = {4: ("w1", "w2"), 5: ("w2", "w3"), 6: ("w3", "w1")}


def found(sources, holders, family="hip"):
    """Return who runs the chunks where these hold the other release's copies."""
    hip = replace(metadata.family(), replicas=PLACED)
    other = replace(hip, name="other", replicas={EVERYWHERE: holders})
    by_name = {"hip": hip, "other": other}
    snapshot = SimpleNamespace(families=by_name, family=by_name.__getitem__)
    chunks = np.array([*PLACED], np.int64)
    sent = fragment(sources=sources, family=family)
    route = Route(chunks, 12, 0, 0, np.ones_like(chunks))
    return replicas(sent, route, snapshot, {"w1", "w2", "w3"})


@pytest.mark.parametrize(
    ("sources", "holders", "expected"),
    [
        (OWN, ("w1",), PLACED),
        ((*OWN, COPY), ("w3", "w2", "w1"), PLACED),
        # Only workers that hold the replicated table too.
        ((*OWN, COPY), ("w2", "w3"), {4: ("w2",), 5: ("w2", "w3"), 6: ("w3",)}),
        # Of chunk 5, no worker does: one that is asked will tell what it lacks.
        ((*OWN, COPY), ("w1",), {4: ("w1",), 5: ("w2", "w3"), 6: ("w1",)}),
    ],
)
def test_chunks_go_where_all_is_that_is_read(sources, holders, expected):
    assert found(sources, holders) == expected


def test_copies_alone_are_read_by_any_holder():
    every = dict.fromkeys([EVERYWHERE, *PLACED], ("w3", "w1"))
    assert found((COPY,), ("w3", "w1"), family=None) == every
