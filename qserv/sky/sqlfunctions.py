"""What every DuckDB of qserv knows: the macros, and the pixel of a position.

The pixel comes from `qserv.sky.healpix`, as that of a stored row did: two ways to
compute it would differ on the borders of pixels.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from qserv import sqltext
from qserv.sky import healpix


class Connection(Protocol):
    """As much of a DuckDB connection as is needed."""

    @property
    def execute(self) -> Callable[..., Any]:
        """Run SQL."""

    @property
    def create_function(self) -> Callable[..., Any]:
        """Let SQL call a Python function."""


def install(connection: Connection) -> None:
    """Define the functions that the SQL of plans calls.

    Parameters
    ----------
    connection
        Of DuckDB, its settings not locked yet; its cursors know the functions too.
    """
    connection.execute(sqltext.read("worker/macros.sql"))
    connection.create_function(
        "qserv_pixel",
        pixel,
        ["DOUBLE", "DOUBLE"],
        "BIGINT",
        type="arrow",
        null_handling="special",
    )


def pixel(lon: pa.ChunkedArray, lat: pa.ChunkedArray) -> pa.Array:
    """Return the NESTED pixel of each position at order 29.

    Parameters
    ----------
    lon, lat
        Arrow columns of degrees.

    Returns
    -------
    pyarrow.Array
        NULL where a coordinate is, and where the position is not on the sky.
    """
    here, there = lon.to_numpy(), lat.to_numpy()
    # A comparison with NaN, which stands for NULL here, is false.
    sound = np.isfinite(here) & (np.abs(there) <= 90)
    found = healpix.pixels(np.where(sound, here, 0.0), np.where(sound, there, 0.0))
    return pa.array(found, mask=~sound)
