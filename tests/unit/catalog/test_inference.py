"""Types, kinds, keys and positions that columns suggest."""

from dataclasses import replace

import pyarrow as pa
import pytest

from qserv.catalog.inference import Sight, columns_of, guess, infer, wider
from qserv.catalog.sidecar import Entry
from qserv.catalog.tables import Column, DataType, TableKind
from qserv.errors import InvalidRequest

D = DataType


def test_columns_are_those_of_arrow():
    meaning = {"unit": "mag", "description": "How bright"}
    schema = pa.schema(
        [
            pa.field("t", pa.int8()),
            pa.field("u", pa.uint32()),
            pa.field("m", pa.float32(), metadata=meaning),
            pa.field("s", pa.dictionary(pa.int8(), pa.large_string())),
            pa.field("w", pa.timestamp("ns")),
            pa.field("b", pa.bool_()),
            pa.field("n", pa.null()),
            pa.field("d", pa.decimal128(15, 4)),
            pa.field("i", pa.decimal128(18, 0)),
        ]
    )
    columns = columns_of("T", schema)
    assert [str(c.datatype) for c in columns] == [
        "SMALLINT", "BIGINT", "REAL", "VARCHAR", "TIMESTAMP", "BOOLEAN", "VARCHAR",
        "DOUBLE", "BIGINT",
    ]  # fmt: skip
    assert (columns[2].unit, columns[2].description) == ("mag", "How bright")
    for kind in (pa.list_(pa.int8()), pa.decimal128(19, 0), pa.decimal128(16, 2)):
        with pytest.raises(
            InvalidRequest, match=r"table T, t.parquet: column l has type .*ignore"
        ):
            columns_of("T, t.parquet", pa.schema([pa.field("l", kind)]))


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (D.SMALLINT, D.BIGINT, D.BIGINT),
        (D.SMALLINT, D.REAL, D.REAL),
        (D.INTEGER, D.REAL, D.DOUBLE),
        (D.BIGINT, D.REAL, D.DOUBLE),
        (D.REAL, D.DOUBLE, D.DOUBLE),
        (D.VARCHAR, D.VARCHAR, D.VARCHAR),
        (D.VARCHAR, D.BIGINT, None),
        (D.BOOLEAN, D.SMALLINT, None),
        (D.TIMESTAMP, D.BIGINT, None),
    ],
)
def test_the_wider_of_two_types(one, other, both):
    assert wider(one, other) is wider(other, one) is both


def test_positions_are_double_and_ids_are_bigint():
    columns = [Column(c, D.SMALLINT) for c in ("id", "ra", "dec", "n")]
    entry = Entry(TableKind.DIRECTOR, key="ID", position=("ra", "DEC"))
    found = infer(sight(*columns), entry).columns
    assert [c.datatype for c in found] == [D.BIGINT, D.DOUBLE, D.DOUBLE, D.SMALLINT]


def test_a_few_texts_do_not_make_a_position_one_of_texts():
    columns = (*(Column(c, D.VARCHAR) for c in ("ra", "s")), "dec", "id")
    strayed = replace(sight(*columns, unique=["id"]), strays=frozenset({"ra", "s"}))
    found = guess(strayed).entry
    assert found.position == ("ra", "dec")
    assert [c.datatype for c in infer(strayed, found).columns] == [
        D.DOUBLE, D.VARCHAR, D.DOUBLE, D.BIGINT,
    ]  # fmt: skip


def sight(*columns, unique=(), table="T"):
    made = tuple(
        c if isinstance(c, Column) else Column(c, D.BIGINT if c in unique else D.DOUBLE)
        for c in columns
    )
    return Sight(table, made, frozenset(unique), rows=100)


@pytest.mark.parametrize(
    ("lon", "lat"),
    [
        ("ra", "dec"), ("RA", "Dec"), ("RAJ2000", "DEJ2000"), ("RA_ICRS", "DE_ICRS"),
        ("coord_ra", "coord_dec"), ("s_ra", "s_dec"), ("raMean", "decMean"),
        ("ALPHA_J2000", "DELTA_J2000"), ("right_ascension", "declination"),
    ],
)  # fmt: skip
def test_usual_names_of_positions(lon, lat):
    found = guess(sight("n", lat, lon, "id", unique=["id"])).entry
    assert found == Entry(TableKind.DIRECTOR, key="id", position=(lon, lat))


def test_ucds_go_before_names():
    columns = (
        Column("ra", D.DOUBLE),
        Column("dec", D.DOUBLE),
        Column("x", D.DOUBLE, "deg", "pos.eq.ra;meta.main"),
        Column("y", D.DOUBLE, "deg", "pos.eq.dec;meta.main"),
        Column("id", D.BIGINT),
        Column("n", D.BIGINT, "", "meta.id;meta.main"),
    )
    found = guess(sight(*columns, unique=["id", "n"])).entry
    assert (found.position, found.key) == (("x", "y"), "n")


@pytest.mark.parametrize(
    ("unit", "datatype", "says"),
    [
        ("rad", D.DOUBLE, "ra, dec are in rad; a position is in degrees."),
        ("", D.VARCHAR, "ra, dec are no numbers; a position is in degrees."),
    ],
)
def test_what_is_not_in_degrees_is_no_position(unit, datatype, says):
    columns = (Column("ra", datatype, unit), Column("dec", datatype, unit))
    found = guess(sight(*columns, "id", unique=["id"]))
    assert found.entry == Entry(TableKind.REPLICATED)
    assert says in found.why


def test_a_child_may_share_its_key_or_have_its_own():
    stars = sight("objectId", "ra", "dec", unique=["objectId"], table="Object")
    extra = sight("objectId", "z", unique=["objectId"], table="Extra")
    seen = sight("sourceId", "objectId", "ra", "dec", unique=["sourceId"], table="S")
    assert guess(extra, [stars, seen]).entry == Entry(
        TableKind.CHILD, key="objectId", director="Object"
    )
    assert guess(seen, [stars, extra]).entry == Entry(
        TableKind.CHILD,
        key="objectId",
        director="Object",
        position=("ra", "dec"),
        id="sourceId",
    )
    assert guess(stars, [seen, extra]).entry.kind is TableKind.DIRECTOR
