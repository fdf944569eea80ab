import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qserv.errors import InvalidValue
from qserv.sky.healpix import ORDER
from qserv.sky.moc import parse
from qserv.sky.ranges import SPHERE, RangeSet

FOUR = RangeSet.from_pixels(4, [30, 31, 32, 33, 38, 52])
WHOLE = FOUR | RangeSet.from_pixels(7, range(3240, 9350))


@pytest.mark.parametrize(
    "text",
    [
        "4/30-33 38 52 7/3240-9349",
        "4/30-33,38,52 7/3240-9349",
        " s4/ 30-33\n38 52\t7/3240-9349 29/ ",
        "7/3240-9349 4/30 4/31 4/32-33 38-38 52 52 30",
        json.dumps({"4": [30, 31, 32, 33, 38, 52], "7": list(range(3240, 9350))}),
    ],
)
def test_both_ways_to_write_one_are_read(text):
    assert parse(text) == WHOLE


def test_no_pixel_and_all_pixels():
    for nothing in ("", "  ", "4/", "{}", '{"3": []}', "0/ 29/"):
        assert parse(nothing).is_empty
    for all_of_it in (
        "0/0-11",
        f"29/0-{SPHERE - 1}",
        '{"0":[0,1,2,3,4,5,6,7,8,9,10,11]}',
    ):
        assert parse(all_of_it) == RangeSet.everything()


def test_a_key_that_stands_twice_counts_twice():
    assert parse('{"4": [30, 31], "4": [32, 33, 38, 52]}') == FOUR


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("4/30-33 x 52", "character 9 of a MOC: 'x 52'"),
        ("4/30-", "character 3"),
        ("4/3.5", "character 3"),
        ("t61/1 2", "character 1 of a MOC: 't61/1 2'"),
        ("30 31", "character 1 of a MOC: before pixel 30 stands no order"),
        ("30/1", "an order is a whole number from 0 to 29, not 30"),
        ("1/46 47 48", "character 9 of a MOC: order 1 has the pixels 0 to 47, not 48"),
        ("1/9-7", "character 3 of a MOC: order 1 has the pixels 0 to 47, not 9-7"),
        ("4/99999999999999999999", "order 4 has the pixels 0 to 3071"),
        ("4/999999999999999999999", "character 3"),
        ('{"4": [30', "no JSON"),
        ('{"4": 30}', "a list of whole numbers, not 30"),
        ('{"4": [30.5]}', "a list of whole numbers"),
        ('{"4": [true]}', "a list of whole numbers"),
        ('{"4": {"5": 6}}', "a list of whole numbers"),
        ('{"x": [1]}', "an order is a whole number from 0 to 29, not x"),
        ('{"1": [-1]}', "order 1 has the pixels 0 to 47, not -1"),
        ('{"²": [1]}', "an order is a whole number"),
        ("{" * 100_000, "no JSON"),
    ],
)
def test_what_is_none_is_refused_with_its_place(text, said):
    with pytest.raises(InvalidValue) as refused:
        parse(text)
    assert said in refused.value.text


@given(st.lists(st.tuples(st.integers(0, SPHERE), st.integers(0, SPHERE)), max_size=5))
def test_the_cells_of_an_area_are_the_fewest_that_make_it(ends):
    area = RangeSet.of([sorted(pair) for pair in ends])
    cells = area.cells()
    parts = [RangeSet.from_pixels(order, pixels) for order, pixels in cells.items()]
    whole = RangeSet.of(
        np.concatenate([np.empty((0, 2), int), *(p.bounds for p in parts)])
    )
    assert whole == area
    sizes = sum(len(pixels) << 2 * (ORDER - order) for order, pixels in cells.items())
    assert sizes == int(np.sum(area.bounds[:, 1] - area.bounds[:, 0]))
    for order, pixels in cells.items():
        # Four of one parent would be that parent.
        _, together = np.unique(pixels >> 2, return_counts=True)
        assert order == 0 or together.max() < 4
