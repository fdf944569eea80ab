"""A result is what the czar sent, whole and undamaged, or an error."""

import numpy as np
import pytest
from astropy import units
from support.fake_czar import answer

from qserv.catalog.tables import Column, DataType
from qserv.errors import (
    Cancelled,
    CorruptData,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    LimitExceeded,
)

COLUMNS = [
    Column("objectId", DataType.BIGINT, "", "meta.id", "Its number.", nullable=False),
    Column("ra", DataType.DOUBLE, "deg", "pos.eq.ra", "Right ascension."),
    Column("name", DataType.VARCHAR),
    Column("seen", DataType.BOOLEAN),
]
ROWS = {
    "objectId": [1, 2, 3, 4],
    "ra": [0.5, None, 359.5, 12.0],
    "name": ["Vega", "", None, "Mira"],
    "seen": [True, None, False, True],
}


@pytest.fixture
def whole(czar):
    czar.frames = answer(COLUMNS, ROWS, warnings=["a warning"])
    return czar.frames


def test_rows_arrive_as_they_were_sent(db, whole):
    result = db.query("SELECT")
    assert result.to_arrow().to_pydict() == ROWS
    assert result.columns == tuple(COLUMNS)
    assert (result.query_id, result.snapshot) == ("q-1", 7)
    assert (result.chunks, result.chunks_total) == (2, 12)
    assert result.complete
    assert result.warnings == ("a warning",)
    assert result.seconds == 0.0015


def test_iterating_streams_batches_and_keeps_none(db, whole):
    result = db.query("SELECT")
    assert [batch.num_rows for batch in result] == [2, 2]
    with pytest.raises(InvalidRequest, match="streamed and are gone"):
        result.to_arrow()


def test_collected_rows_can_be_read_again(db, whole):
    result = db.query("SELECT")
    assert result.to_arrow() is result.to_arrow()
    assert sum(batch.num_rows for batch in result) == 4
    assert list(result.to_pandas()["objectId"]) == [1, 2, 3, 4]


def test_an_answer_without_rows_has_its_columns(db, czar):
    czar.frames = answer(COLUMNS, {name: [] for name in ROWS})
    table = db.query("SELECT").to_arrow()
    assert (table.num_rows, table.column_names) == (0, list(ROWS))


def test_astropy_gets_units_meanings_and_masks(db, whole):
    table = db.query("SELECT").to_astropy()
    assert table["ra"].unit == units.deg
    assert table["ra"].meta["ucd"] == "pos.eq.ra"
    assert table["ra"].description == "Right ascension."
    assert list(table["ra"].mask) == [False, True, False, False]
    assert list(table["name"].mask) == [False, False, True, False]
    assert list(table["seen"].mask) == [False, True, False, False]
    assert not hasattr(table["objectId"], "mask")
    assert table["name"].dtype.kind == "U"
    assert np.ma.sum(table["ra"]) == 372.0


def test_astropy_takes_an_answer_without_rows(db, czar):
    czar.frames = answer(COLUMNS, {name: [] for name in ROWS})
    assert len(db.query("SELECT").to_astropy()) == 0


def test_progress_is_told(db, whole):
    seen = []
    db.query("SELECT", progress=seen.append).to_arrow()
    assert [(p.chunks_done, p.chunks, p.rows) for p in seen] == [(1, 2, 0), (1, 2, 2)]


def test_a_missing_trailer_raises_after_however_many_rows(db, whole):
    del whole[-1]
    batches = iter(db.query("SELECT"))
    next(batches)
    next(batches)
    with pytest.raises(CorruptData, match="ended before"):
        next(batches)


@pytest.mark.parametrize("spoil", ["digest", "rows", "data", "lost", "swapped"])
def test_damage_on_the_way_raises(db, whole, spoil):
    match spoil:
        case "digest":
            whole[-1].trailer.digest = b"0" * 32
        case "rows":
            whole[-1].trailer.rows += 1
        case "data":
            sent = bytearray(whole[1].data.record_batch)
            sent[sent.rindex(b"Vega")] ^= 1
            whole[1].data.record_batch = bytes(sent)
        case "lost":
            del whole[1]
        case "swapped":
            whole[1], whole[3] = whole[3], whole[1]
    with pytest.raises(CorruptData, match="damaged on the way"):
        db.query("SELECT").to_arrow()


def test_damage_passes_unnoticed_only_without_the_digest(db, whole, monkeypatch):
    whole[1], whole[3] = whole[3], whole[1]
    monkeypatch.setattr("qserv.client.result.Digest.value", lambda _: digest)
    digest = whole[-1].trailer.digest
    assert db.query("SELECT").to_arrow()["objectId"].to_pylist() == [3, 4, 1, 2]


def test_a_result_without_a_header_is_a_bug(db, whole):
    del whole[0]
    with pytest.raises(InternalError, match="without a header"):
        db.query("SELECT")


def test_a_result_shows_its_columns_and_how_to_read_it(db, whole):
    result = db.query("SELECT")
    names = ", ".join(column.name for column in result.columns)
    assert (
        repr(result) == f"<Result of {names}; to be read: to_pandas(), to_astropy() …>"
    )
    result.to_arrow()
    assert repr(result) == f"<Result of {names}; read>"


def test_an_error_keeps_its_class_and_text(db, czar):
    czar.error = LimitExceeded("100 rows are too many; ask for fewer")
    with pytest.raises(LimitExceeded, match="100 rows are too many; ask for fewer"):
        db.query("SELECT")


def test_a_deadline_that_passes_is_told_and_stops_the_query(db, whole, czar):
    czar.hang_after = 2
    with pytest.raises(DeadlineExceeded):
        db.query("SELECT", timeout=0.3).to_arrow()
    assert czar.cancelled.wait(20)


def test_closing_a_result_stops_the_query(db, whole, czar):
    czar.hang_after = 2
    with db.query("SELECT") as result:
        next(iter(result))
    assert czar.cancelled.wait(20)


def test_what_is_not_known_yet_is_not_made_up(db, whole):
    result = db.query("SELECT")
    with pytest.raises(InvalidRequest, match="when all rows were read"):
        _ = result.warnings
    assert not result.complete


def test_a_closed_connection_ends_its_results(db, whole, czar):
    czar.hang_after = 2
    batches = iter(db.query("SELECT"))
    next(batches)
    db.close()
    with pytest.raises(Cancelled):
        next(batches)
