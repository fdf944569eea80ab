"""Rows that no release may hold are refused by file, row and column."""

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
    gather,
    located,
    parquet,
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
        return np.array([self.known.get(key, -1) for key in keys.to_pylist()])


@pytest.fixture
def locator():
    return Locator(live={}, loaded={})


def locate(locator, tmp_path, table, **values):
    path = parquet(tmp_path / f"{table.name}.parquet", table, **values)
    return locator.locate(gather(table, path))


@pytest.mark.parametrize(
    ("ra", "dec", "message"),
    [
        (
            [1, 2],
            [0, 90.1],
            r"Object.parquet, row 2, column dec: 90.1 is not within ±90",
        ),
        ([1, 2], [-91, 0], r"row 1, column dec: -91.0 is not"),
        ([1, None], [0, 0], r"row 2, column ra: NULL or NaN is not in"),
        ([1, float("nan")], [0, 0], r"row 2, column ra: NULL or NaN"),
        ([1, 2], [float("inf"), 0], r"row 1, column dec: inf"),
        ([540, 1], [0, 0], r"row 1, column ra: 540.0 is not in"),
        ([-180.001, 1], [0, 0], r"row 1, column ra: -180.001"),
        ([1, float("-inf")], [0, 0], r"row 2, column ra: -inf"),
    ],
)
def test_positions_off_the_sky(locator, tmp_path, ra, dec, message):
    with pytest.raises(BadContribution, match=message):
        locate(locator, tmp_path, OBJECT, ra=ra, dec=dec)


def test_right_ascensions_are_wrapped_and_counted(locator, tmp_path):
    ra = [-180.0, -1e-20, 0.0, 359.5, 360.0, 539.5]
    found, wrapped = locate(locator, tmp_path, OBJECT, ra=ra, dec=[0] * 6)
    assert found.data["ra"].to_pylist() == [180.0, 0.0, 0.0, 359.5, 0.0, 179.5]
    assert found.lon.tolist() == found.data["ra"].to_pylist()
    assert wrapped == (4,)


def test_a_narrow_right_ascension_stays_below_360(locator):
    narrow = Table(
        "Object",
        TableKind.DIRECTOR,
        columns(objectId="BIGINT", ra="REAL", dec="REAL"),
        key="objectId",
        position=("ra", "dec"),
    )
    found = located(narrow, locator, objectId=[1], ra=[-1e-9], dec=[0])
    assert found.data["ra"].to_pylist() == [0.0]
    assert found.lon.tolist() == [0.0]


def test_a_position_must_be_a_number(locator):
    worded = Table(
        "Object",
        TableKind.DIRECTOR,
        columns(objectId="BIGINT", ra="VARCHAR", dec="DOUBLE"),
        key="objectId",
        position=("ra", "dec"),
    )
    with pytest.raises(InvalidRequest, match=r"position column ra is not a number"):
        located(worded, locator, ra=["1"], dec=[0])


def test_director_keys_are_unique_and_not_null(locator, tmp_path):
    ids = [5, 6, None, 5, 7, 5]
    with pytest.raises(BadContribution) as caught:
        locate(locator, tmp_path, OBJECT, objectId=ids, dec=[0] * 6)
    assert [line.split(".parquet, ")[1] for line in caught.value.text.splitlines()] == [
        "row 3, column objectId: the key is NULL",
        "row 4, column objectId: 5 is a duplicate key",
        "row 6, column objectId: 5 is a duplicate key",
    ]


def test_director_keys_may_not_be_live(tmp_path):
    locator = Locator(live={"object": Live(id6=0)}, loaded={})
    with pytest.raises(
        BadContribution, match=r"row 2, column objectId: 6 is in the rel"
    ):
        locate(locator, tmp_path, OBJECT, objectId=[5, 6], dec=[0, 0])


def test_orphans_are_refused(locator, tmp_path):
    locate(locator, tmp_path, OBJECT, objectId=[5, 6], dec=[0, 0])
    with pytest.raises(BadContribution) as caught:
        locate(locator, tmp_path, SOURCE, objectId=[6, 7, None], dec=[0] * 3)
    assert "row 2, column objectId: 7 is not in Object: the row is an orphan" in str(
        caught.value
    )
    assert "row 3, column objectId: the key is NULL" in str(caught.value)
    assert "row 1" not in str(caught.value)


def test_ids_of_children_are_unique_not_null_and_not_live(tmp_path):
    locator = Locator(live={"source": Live(id7=0)}, loaded={})
    locate(locator, tmp_path, OBJECT, objectId=[1], dec=[0])
    rows = {"sourceId": [5, None, 5, 7], "objectId": [1] * 4, "dec": [0] * 4}
    with pytest.raises(BadContribution) as caught:
        locate(locator, tmp_path, NAMED_SOURCE, **rows)
    assert [line.split(".parquet, ")[1] for line in caught.value.text.splitlines()] == [
        "row 2, column sourceId: the key is NULL",
        "row 3, column sourceId: 5 is a duplicate key",
        "row 4, column sourceId: 7 is in the release already",
    ]


ARCSEC = 1 / 3600
FAR = "of RefObject lies farther from its Object than the family's overlap, 60 arcsec"


@pytest.fixture
def pairing(tmp_path):
    """Two objects, one a load ago, and three of reference around the first."""
    live = {"object": Live(id9=0)}
    locator = Locator(live=live, loaded={}, overlap=60 * ARCSEC)
    locate(locator, tmp_path, OBJECT, objectId=[1, 2], ra=[0, 90], dec=[0, 0])
    away = np.array([0, 60, 60.002]) * ARCSEC
    locate(locator, tmp_path, REF_OBJECT, refObjectId=[1, 2, 3], ra=[0] * 3, dec=away)
    return locator


def test_a_pair_lives_with_the_first_director_that_it_has(pairing, tmp_path):
    found, _ = locate(
        pairing,
        tmp_path,
        MATCH,
        objectId=[1, 1, 2, None, 9],
        refObjectId=[1, 2, None, 3, None],
    )
    objects, refs = (pairing.loaded[name].homes for name in ("object", "refobject"))
    first = objects[0]
    assert found.homes.tolist() == [first, first, objects[1], refs[2], 0]
    assert found.seconds.tolist() == [refs[0], refs[1], -1, -1, -1]


def test_pairs_without_directors_or_too_far_apart_are_refused(pairing, tmp_path):
    with pytest.raises(BadContribution) as caught:
        locate(
            pairing,
            tmp_path,
            MATCH,
            objectId=[1, None, 3, 1, 2],
            refObjectId=[3, None, 1, 4, 1],
        )
    assert [line.split(".parquet, ")[1] for line in caught.value.text.splitlines()] == [
        f"row 1, column refObjectId: 3 {FAR}",
        "row 2, column objectId: both it and refObjectId are NULL",
        "row 3, column objectId: 3 is not in Object: the row is an orphan",
        "row 4, column refObjectId: 4 is not in RefObject: the row is an orphan",
        f"row 5, column refObjectId: 1 {FAR}",
    ]


def test_both_keys_of_a_pair_have_the_types_of_their_directors(pairing):
    worded = replace(MATCH, columns=columns(objectId="BIGINT", refObjectId="VARCHAR"))
    with pytest.raises(BadContribution, match=r"its key refObjectId is string, but"):
        located(worded, pairing, objectId=[1], refObjectId=["1"])


def test_without_the_check_a_far_pair_would_be_loaded(pairing, tmp_path, monkeypatch):
    """The guarantee, switched off."""
    monkeypatch.setattr(check, "pairs", lambda *_: None)
    found, _ = locate(pairing, tmp_path, MATCH, objectId=[2], refObjectId=[1])
    assert len(found.homes) == 1


def test_children_find_directors_of_this_load_and_live_ones(tmp_path):
    locator = Locator(live={"object": Live(id7=77, id8=88)}, loaded={})
    loaded, _ = locate(locator, tmp_path, OBJECT, objectId=[5, 6], dec=[0, 0])
    found, _ = locate(locator, tmp_path, FORCED, objectId=[8, 5, 7, 6])
    assert found.homes.tolist() == [88, loaded.homes[0], 77, loaded.homes[1]]


def test_a_child_needs_its_director(locator):
    with pytest.raises(
        BadContribution, match=r"its director Object is neither in this"
    ):
        located(FORCED, locator, objectId=[1])


def test_keys_of_other_types_do_not_meet(locator):
    located(OBJECT, locator, objectId=[1], dec=[0])
    worded = Table(
        "ForcedSource",
        TableKind.CHILD,
        columns(objectId="VARCHAR"),
        key="objectId",
        director="Object",
    )
    with pytest.raises(BadContribution, match=r"key objectId is string, but the key"):
        located(worded, locator, objectId=["1"])


def test_a_key_is_a_whole_number_or_text(locator):
    real = Table(
        "Object",
        TableKind.DIRECTOR,
        columns(objectId="DOUBLE", ra="DOUBLE", dec="DOUBLE"),
        key="objectId",
        position=("ra", "dec"),
    )
    with pytest.raises(InvalidRequest, match=r"key objectId is DOUBLE"):
        located(real, locator, objectId=[1.5], ra=[0], dec=[0])


def test_text_keys(locator, tmp_path):
    worded = Table(
        "Object",
        TableKind.DIRECTOR,
        columns(objectId="VARCHAR", ra="DOUBLE", dec="DOUBLE"),
        key="objectId",
        position=("ra", "dec"),
    )
    ids = ["b", "a", "b", "c"]
    with pytest.raises(BadContribution, match=r"row 3, column objectId: 'b' is a dupl"):
        locate(locator, tmp_path, worded, objectId=ids, dec=[0] * 4)


def test_few_are_listed_and_all_are_counted(locator, tmp_path):
    dec = [100.0] * 1000
    with pytest.raises(BadContribution) as caught:
        locate(locator, tmp_path, OBJECT, ra=[0] * 1000, dec=dec)
    lines = caught.value.text.splitlines()
    assert len(lines) == check.LISTED + 1
    assert lines[-1].strip() == f"and {1000 - check.LISTED} more bad values"


def test_a_row_is_named_in_its_own_file(locator, tmp_path):
    good = parquet(tmp_path / "good.parquet", OBJECT, objectId=[1, 2], dec=[0, 0])
    bad = parquet(tmp_path / "bad.parquet", OBJECT, objectId=[3, 1], dec=[0, 0])
    with pytest.raises(
        BadContribution, match=r"bad.parquet, row 2, .*: 1 is a duplicate"
    ):
        locator.locate(gather(OBJECT, good, bad))


def test_without_the_check_a_duplicate_would_be_loaded(locator, tmp_path, monkeypatch):
    """The guarantee, switched off."""
    monkeypatch.setattr(check, "duplicates", lambda *_: None)
    found, _ = locate(locator, tmp_path, OBJECT, objectId=[5, 5], dec=[0, 0])
    assert found.keys.equals(pa.array([5, 5]))


def test_no_rows_at_all(locator):
    found = located(OBJECT, locator, objectId=[], ra=[], dec=[], mag=[])
    assert found.homes.tolist() == []
    assert located(FORCED, locator, objectId=[], flux=[]).homes.tolist() == []


def test_datatypes_of_keys_are_widened(locator):
    small = Table(
        "Object",
        TableKind.DIRECTOR,
        columns(objectId=DataType.SMALLINT, ra="DOUBLE", dec="DOUBLE"),
        key="objectId",
        position=("ra", "dec"),
    )
    assert (
        located(small, locator, objectId=[1], ra=[0], dec=[0]).keys.type == pa.int64()
    )
