"""Rows that no release may hold are left out, told by file, row and column."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from support.loads import (
    FORCED,
    MATCH,
    NAMED_SOURCE,
    OBJECT,
    REF_OBJECT,
    SOURCE,
    columns,
    located,
    locator,
    rows,
)

from qserv.catalog.tables import DataType, Table, TableKind
from qserv.errors import BadContribution, InvalidRequest
from qserv.ingest import check
from qserv.ingest.locate import Locator


class Live:
    """A live index that knows some keys."""

    def __init__(self, **homes):
        self.known = {int(key.removeprefix("id")): home for key, home in homes.items()}

    def homes(self, keys):
        return np.array([self.known.get(key, -1) for key in keys.to_pylist()], np.int64)


def wrong(table, where=None, **values):
    """Return what is wrong with which rows."""
    found = (where or locator()).locate(rows(table, **values))
    good = set(range(1, len(next(iter(values.values()))) + 1)) - {
        reject.row for reject in found.rejects
    }
    assert found.rows.numbers.tolist() == sorted(good)
    assert len(found.located.homes) == len(good)
    return [(r.row, r.column, r.reason) for r in found.rejects]


@pytest.mark.parametrize(
    ("ra", "dec", "row", "column", "reason"),
    [
        ([1, 2], [0, 90.1], 2, "dec", "90.1 is not within ±90"),
        ([1, 2], [-91, 0], 1, "dec", "-91.0 is not within ±90"),
        ([1, None], [0, 0], 2, "ra", "NULL or NaN is not in [0, 360)"),
        ([1, 2], [float("inf"), 0], 1, "dec", "inf is not within ±90"),
        ([540, 1], [0, 0], 1, "ra", "540.0 is not in [0, 360)"),
        ([-180.001, 1], [0, 0], 1, "ra", "-180.001 is not in [0, 360)"),
        ([1, float("-inf")], [0, 0], 2, "ra", "-inf is not in [0, 360)"),
        ([None, 1], [None, 0], 1, "dec", "NULL or NaN is not within ±90"),
    ],
)
def test_positions_off_the_sky(ra, dec, row, column, reason):
    assert wrong(OBJECT, ra=ra, dec=dec) == [(row, column, reason)]


def test_positions_may_be_whole_numbers():
    """Also beside NULL, and beside one that no angle in floating point is."""
    told = columns(objectId="BIGINT", ra="BIGINT", dec="DOUBLE")
    table = replace(OBJECT, columns=told)
    ra, far = [2**63 - 1, None, -5, 7, 360], 9223372036854775807
    found = locator().locate(rows(table, ra=pa.array(ra), dec=[0] * 5))
    assert [(r.row, r.reason) for r in found.rejects] == [
        (1, f"{far} is not in [0, 360)"),
        (2, "NULL or NaN is not in [0, 360)"),
    ]
    assert found.rows.data["ra"].to_pylist() == [355, 7, 0]
    assert found.located.lon.tolist() == [355, 7, 0]


def test_right_ascensions_are_wrapped_and_counted():
    ra = [-180.0, -1e-20, 0.0, 359.5, 360.0, 539.5]
    found = locator().locate(rows(OBJECT, ra=ra, dec=[0] * 6))
    assert found.located.data["ra"].to_pylist() == [180.0, 0.0, 0.0, 359.5, 0.0, 179.5]
    assert found.located.lon.tolist() == found.located.data["ra"].to_pylist()
    assert found.wrapped == {0: 4}


def test_a_wrapped_right_ascension_of_a_row_left_out_is_not_counted():
    found = locator().locate(rows(OBJECT, ra=[-1, -2], dec=[0, 99]))
    assert found.wrapped == {0: 1}


def test_a_narrow_right_ascension_stays_below_360():
    narrow = Table(
        "Object",
        TableKind.DIRECTOR,
        columns(objectId="BIGINT", ra="REAL", dec="REAL"),
        key="objectId",
        position=("ra", "dec"),
    )
    found = located(narrow, objectId=[1], ra=[-1e-9], dec=[0])
    assert found.data["ra"].to_pylist() == [0.0]
    assert found.lon.tolist() == [0.0]


def test_a_position_must_be_a_number():
    worded = Table(
        "Object",
        TableKind.DIRECTOR,
        columns(objectId="BIGINT", ra="VARCHAR", dec="DOUBLE"),
        key="objectId",
        position=("ra", "dec"),
    )
    with pytest.raises(InvalidRequest, match=r"position column ra is not a number"):
        located(worded, ra=["1"], dec=[0])


def test_director_keys_are_not_null():
    assert wrong(OBJECT, objectId=[5, None, 6], dec=[0] * 3) == [
        (2, "objectId", "the key is NULL")
    ]


def test_orphans_are_refused():
    objects = located(OBJECT, objectId=[5, 6], dec=[0, 0])
    ids = [6, 7, None]
    assert wrong(SOURCE, locator(objects), objectId=ids, dec=[0] * 3) == [
        (3, "objectId", "the key is NULL"),
        (2, "objectId", "7 is not in Object: the row is an orphan"),
    ]


def test_orphans_are_kept_by_their_own_position_when_asked():
    objects = located(OBJECT, objectId=[5, 6], dec=[0, 0])
    keeping = replace(SOURCE, orphans=True)
    values = {"objectId": [6, 7, None], "ra": [9.0, 10, 11], "dec": [0.0, 1, 2]}
    found = located(keeping, locator(objects), **values)
    alone = located(OBJECT, objectId=[1, 2], ra=[10.0, 11], dec=[1.0, 2])
    assert found.homes.tolist() == [objects.homes[1], *alone.homes.tolist()]


def test_ids_of_children_are_not_null():
    objects = located(OBJECT, objectId=[1], dec=[0])
    values = {"sourceId": [5, None], "objectId": [1] * 2, "dec": [0] * 2}
    assert wrong(NAMED_SOURCE, locator(objects), **values) == [
        (2, "sourceId", "the key is NULL")
    ]


def test_an_id_may_be_the_key_itself():
    own = replace(SOURCE, id="objectId")
    objects = located(OBJECT, objectId=[1, 2], dec=[0, 0])
    found = located(own, locator(objects), objectId=[2, 1], dec=[0, 0])
    assert found.ids.to_pylist() == [2, 1]


ARCSEC = 1 / 3600
FAR = "of RefObject lies farther from its Object than the table's overlap, 60 arcsec"


@pytest.fixture
def directors():
    """Two objects, and three of reference around the first."""
    objects = located(OBJECT, objectId=[1, 2], ra=[0, 90], dec=[0, 0])
    away = np.array([0, 60, 60.002]) * ARCSEC
    refs = located(REF_OBJECT, refObjectId=[1, 2, 3], ra=[0] * 3, dec=away)
    return objects, refs


@pytest.fixture
def pairing(directors):
    """Knows them, and one object of a load before."""
    known = locator(*directors, overlap=60 * ARCSEC)
    objects = (*known.directors["object"], Live(id9=0))
    return replace(known, directors={**known.directors, "object": objects})


def test_a_pair_lives_with_the_first_director_that_it_has(pairing, directors):
    found = located(
        MATCH,
        pairing,
        objectId=[1, 1, 2, None, 9],
        refObjectId=[1, 2, None, 3, None],
    )
    objects, refs = (each.homes for each in directors)
    first = objects[0]
    assert found.homes.tolist() == [first, first, objects[1], refs[2], 0]
    assert found.seconds.tolist() == [refs[0], refs[1], -1, -1, -1]


def test_pairs_without_directors_or_too_far_apart_are_refused(pairing):
    found = wrong(
        MATCH, pairing, objectId=[1, None, 3, 1, 2], refObjectId=[3, None, 1, 4, 1]
    )
    assert sorted(found) == [
        (1, "refObjectId", f"3 {FAR}"),
        (2, "objectId", "both it and refObjectId are NULL"),
        (3, "objectId", "3 is not in Object: the row is an orphan"),
        (4, "refObjectId", "4 is not in RefObject: the row is an orphan"),
        (5, "refObjectId", f"1 {FAR}"),
    ]


def test_without_the_check_a_far_pair_would_be_loaded(pairing, monkeypatch):
    """The guarantee, switched off."""
    monkeypatch.setattr(check, "pairs", lambda *_: None)
    assert wrong(MATCH, pairing, objectId=[2], refObjectId=[1]) == []


def test_without_the_check_an_orphan_would_be_loaded(monkeypatch):
    """The guarantee, switched off."""
    objects = located(OBJECT, objectId=[1], dec=[0])
    monkeypatch.setattr(check, "orphans", lambda *_: None)
    assert wrong(FORCED, locator(objects), objectId=[7]) == []


def test_children_find_directors_of_this_load_and_live_ones():
    objects = located(OBJECT, objectId=[5, 6], dec=[0, 0])
    here = locator(objects).directors["object"]
    both = Locator(directors={"object": (*here, Live(id7=77, id8=88))})
    found = located(FORCED, both, objectId=[8, 5, 7, 6])
    assert found.homes.tolist() == [88, objects.homes[0], 77, objects.homes[1]]


def test_a_child_needs_its_director():
    with pytest.raises(
        BadContribution, match=r"its director Object is neither in this"
    ):
        located(FORCED, objectId=[1])


def test_a_key_is_a_whole_number_or_text():
    real = Table(
        "Object",
        TableKind.DIRECTOR,
        columns(objectId="DOUBLE", ra="DOUBLE", dec="DOUBLE"),
        key="objectId",
        position=("ra", "dec"),
    )
    with pytest.raises(InvalidRequest, match=r"key objectId is DOUBLE"):
        located(real, objectId=[1.5], ra=[0], dec=[0])


def test_no_rows_at_all():
    found = located(OBJECT, objectId=[], ra=[], dec=[], mag=[])
    assert found.homes.tolist() == []
    assert located(FORCED, locator(found), objectId=[], flux=[]).homes.tolist() == []


def test_datatypes_of_keys_are_widened():
    small = Table(
        "Object",
        TableKind.DIRECTOR,
        columns(objectId=DataType.SMALLINT, ra="DOUBLE", dec="DOUBLE"),
        key="objectId",
        position=("ra", "dec"),
    )
    assert str(located(small, objectId=[1], ra=[0], dec=[0]).keys.type) == "int64"
