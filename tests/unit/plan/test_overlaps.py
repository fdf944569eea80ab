"""An overlap reaches as far as its table's version says; if not, rows are lost."""

import pytest
from support.pairs import paired
from support.survey import ARCSEC, survey
from support.worlds import World, believing

from qserv.plan import relations
from qserv.plan.plan import Extent, Fragment
from qserv.plan.planner import plan

WITHIN = (
    "SELECT COUNT(*) FROM Object a, Object b "
    "WHERE DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.01 AND a.class = 1"
)
PAIRS = (
    "SELECT COUNT(*), MAX(r.dec) FROM Object o JOIN Match m "
    "ON m.objectId = o.objectId JOIN RefObject r ON r.refId = m.refId"
)


def _has_halo(world, text):
    made = plan(text, world.chunks.snapshot)
    sent = (stage for stage in made.stages if isinstance(stage, Fragment))
    return any(s.extent is Extent.HALO for stage in sent for s in stage.sources)


@pytest.mark.parametrize(("own", "halo"), [(5, True), (60, False)])
def test_an_overlap_is_that_of_the_table_and_not_of_its_family(own, halo):
    """A family says where new tables begin; each version says what its files hold."""
    family = 65 - own
    world = World(survey(), 60, overlap=family * ARCSEC, radii={"Object": own * ARCSEC})
    assert world.is_right(WITHIN)
    assert _has_halo(world, WITHIN) == halo
    world.chunks.snapshot = believing(world.chunks.snapshot, family * ARCSEC)
    assert world.is_right(WITHIN) == (not halo)


def test_pairs_may_be_farther_apart_than_an_overlap_reaches(monkeypatch):
    radii = {"Match": 60 * ARCSEC, "Neighbour": 60 * ARCSEC}
    world = World(paired(), 20, overlap=5 * ARCSEC, radii=radii)
    assert world.is_right(PAIRS)
    assert _has_halo(world, PAIRS)
    monkeypatch.setattr(relations, "_paired", lambda _: 5 * ARCSEC)
    assert not world.is_right(PAIRS)
