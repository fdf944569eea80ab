"""A map shows each position in the chunk that holds it."""

import numpy as np
import pytest

from qserv.cli.drawing import ChunkMap, _project, _unproject
from qserv.client.status import TableStatus
from qserv.sky.chunking import chunk_id


def table(chunks):
    ids = np.array(chunks, dtype=np.int64)
    rows = np.arange(1, ids.size + 1)
    return TableStatus("T", "director", 0, 0, ids.size, (), ids, rows)


def test_positions_are_found_in_their_chunks_and_nowhere_else():
    # The four order-1 pixels of base pixel 4, which has its centre at RA 0, Dec 0.
    four = [chunk_id(1, 16 + child) for child in (3, 0, 2, 1)]
    chunks = ChunkMap.of("T", table(four))
    found = chunks.at(np.array([0.0, 359.0, 180.0, 0.0]), np.array([20.0, 0, 0, 60.0]))
    assert chunks.rows[found[0]] == 1
    assert found[1] >= 0
    assert list(found[2:]) == [-1, -1]
    assert chunks.share == pytest.approx(1 / 12)


def test_a_window_frames_the_smallest_chunks():
    chunks = ChunkMap.of("T", table([chunk_id(0, 0), chunk_id(6, 2000 + 4 * 4**6)]))
    lon, lat, half = chunks.window()
    assert chunks.rows[chunks.at(np.array([lon]), np.array([lat]))][0] == 2
    assert half < 5


def test_the_projection_and_its_inverse_agree():
    lon, lat = np.meshgrid(np.linspace(-179, 179, 60), np.linspace(-89, 89, 60))
    again = _unproject(*_project(lon.ravel(), lat.ravel()))
    assert again[0] == pytest.approx(lon.ravel() % 360, abs=1e-4)
    assert again[1] == pytest.approx(lat.ravel(), abs=1e-4)
