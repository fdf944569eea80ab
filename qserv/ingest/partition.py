"""Gives each row its home, and beside which chunks a copy of it must lie.

The home of a director row is the pixel of its position when it is first loaded; the
home of a child row is that of its director, and the home of a ref-match row that of
its first director that is not NULL. Rows are sorted by (home, key), and chunks
are ranges of homes, so that each chunk is one slice of the sorted rows.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qserv.catalog.snapshot import EVERYWHERE
from qserv.catalog.tables import CHUNK, HEALPIX, SOURCE, UNIT_VECTOR, Table
from qserv.ingest.ordering import ascending, by_key, in_order, runs_of, untied
from qserv.ingest.stored import stored_schema
from qserv.sky import healpix
from qserv.sky.chunking import ChunkTree, overlap_hosts

_ROUNDING: Final = 1e-9
"""Degrees; more than the errors of the distance below, less than a pixel."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Located:
    """The rows of a table with all that decides where they go.

    Parameters
    ----------
    table
        The table.
    data
        The rows in the table's columns and types.
    homes
        Order-29 pixel of each row's director, int64.
    keys
        Director key of each row, int64 or string; of a ref-match row the first, which
        may be NULL.
    lon, lat
        Own position in degrees; None for a table without position.
    seconds
        Home of each ref-match row's second director, -1 where one of the two is NULL;
        None for other tables.
    ids
        Values of the column that gets an index; None for a table without.
    sources
        Number of the input file of each row, int32; None: all from file 0.
    """

    table: Table
    data: pa.Table
    homes: Integers
    keys: pa.Array
    lon: Floats | None = None
    lat: Floats | None = None
    seconds: Integers | None = None
    ids: pa.Array | None = None
    sources: npt.NDArray[np.int32] | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows of one file.

    Parameters
    ----------
    chunk
        The chunk that holds them, or that they lie beside.
    rows
        In the stored columns, sorted by (home, key).
    offset
        δ in degrees; None for overlap rows.
    """

    chunk: int
    rows: pa.Table
    offset: float | None


def copies(
    table: Table, data: pa.Table, sources: npt.NDArray[np.int32] | None = None
) -> Iterator[Slice]:
    """Return the rows of a replicated table as one slice; none if there are no rows."""
    if data.num_rows:
        arrays = [_sources(sources, data.num_rows), *data.columns]
        rows = pa.Table.from_arrays(arrays, schema=stored_schema(table))
        yield Slice(EVERYWHERE, rows, 0.0)


def own(located: Located, tree: ChunkTree) -> Iterator[Slice]:
    """Cut rows into chunks by their homes.

    Parameters
    ----------
    located
        Rows of a partitioned table.
    tree
        The family's tree.

    Yields
    ------
    Slice
        One for each chunk that has rows, in the order of the sky.

    Notes
    -----
    δ bounds how far own positions lie from their homes, and so from the chunk too, for
    the home's pixel lies inside. It is 0 where all of them lie in their homes, as a
    director's do when it is first loaded, or where the table has no position.
    """
    chunks = tree.locate(located.homes)
    vectors = _vectors(located)
    away = _from_home(located, vectors)
    order = sorted_by(located.keys, located.homes)
    rows = in_order(_stored(located, chunks, vectors), order)
    for start, stop in runs_of(rows.column(CHUNK).to_numpy()):
        inside = order[start:stop]
        yield Slice(
            chunk=int(chunks[inside[0]]),
            rows=rows.slice(start, stop - start),
            offset=_offset(float(away[inside].max())),
        )


def overlap(located: Located, tree: ChunkTree, radius: float) -> Iterator[Slice]:
    """Copy rows beside the chunks where others look for them.

    Those are the chunks within the overlap radius of a row's position; of a ref-match
    row, the home chunk of its second director.

    Parameters
    ----------
    located
        Rows of a table with position, or of a ref-match table.
    tree
        The family's tree.
    radius
        Overlap radius in degrees.

    Yields
    ------
    Slice
        One for each chunk with rows around it; ``_chunk`` is that chunk.
    """
    which, hosts = _hosts(located, tree, radius)
    if not which.size:
        return
    near = _take(located, which)
    order = sorted_by(near.keys, near.homes, tree.positions(hosts))
    rows = in_order(_stored(near, hosts, _vectors(near)), order)
    hosts = hosts[order]
    for start, stop in runs_of(hosts):
        yield Slice(int(hosts[start]), rows.slice(start, stop - start), None)


def _hosts(
    located: Located, tree: ChunkTree, radius: float
) -> tuple[npt.NDArray[np.intp], Integers]:
    """Return which rows are copied, ascending, and beside which chunks."""
    if located.seconds is None:
        assert located.lon is not None
        assert located.lat is not None
        return overlap_hosts(located.lon, located.lat, tree, radius)
    paired = np.flatnonzero(located.seconds >= 0)
    hosts = tree.locate(located.seconds[paired])
    elsewhere = hosts != tree.locate(located.homes[paired])
    return paired[elsewhere], hosts[elsewhere]


def as_keys(column: pa.ChunkedArray) -> pa.Array:
    """Return a column of keys as int64 or string."""
    whole = column.combine_chunks()
    return whole.cast(pa.int64()) if pa.types.is_integer(whole.type) else whole


def _take(located: Located, which: npt.NDArray[np.intp]) -> Located:
    return Located(
        table=located.table,
        data=located.data.take(which),
        homes=located.homes[which],
        keys=located.keys.take(pa.array(which)),
        lon=None if located.lon is None else located.lon[which],
        lat=None if located.lat is None else located.lat[which],
        sources=None if located.sources is None else located.sources[which],
    )


def _vectors(located: Located) -> tuple[Floats, ...]:
    """Return x, y and z of own positions; nothing where there are none."""
    if located.lon is None or located.lat is None:
        return ()
    return healpix.unit_vectors(located.lon, located.lat)


def _from_home(located: Located, vectors: tuple[Floats, ...]) -> Floats:
    """Return the squares of chords from own positions to homes; 0 where inside."""
    if located.lon is None or located.lat is None:
        return np.zeros(len(located.homes), dtype=np.float64)
    square = np.zeros(len(located.homes), dtype=np.float64)
    homes = healpix.center_vectors(healpix.ORDER, located.homes)
    for mine, its in zip(vectors, homes, strict=True):
        square += (mine - its) ** 2
    # What lies farther from the centre of its home than this is not in it.
    radius = 2 * math.radians(healpix.max_radius(healpix.ORDER))
    near = np.flatnonzero(square <= radius**2)
    pixels = healpix.pixels(located.lon[near], located.lat[near])
    square[near[pixels == located.homes[near]]] = 0
    return square


def _offset(square: float) -> float:
    """Return how far positions lie from homes at most, in degrees."""
    if not square:
        return 0.0
    angle = 2 * math.asin(min(math.sqrt(square) / 2, 1))
    return math.degrees(angle) + healpix.max_radius(healpix.ORDER) + _ROUNDING


def sorted_by(
    keys: pa.Array, homes: Integers, hosts: Integers | None = None
) -> npt.NDArray[np.intp]:
    """Return what sorts rows by (host, home, key), stably."""
    if pa.types.is_string(keys.type):
        ranks = np.empty(len(keys), dtype=np.int64)
        ranks[by_key(keys)] = np.arange(len(keys))
    else:
        ranks = pc.fill_null(keys, 0).to_numpy()
    if hosts is not None:
        return np.lexsort((ranks, homes, hosts))
    order = ascending(homes)
    return untied(order, homes[order], ranks[order])


def _stored(
    located: Located, chunks: Integers, vectors: tuple[Floats, ...]
) -> pa.Table:
    """Put the system columns before the rows."""
    system = {
        HEALPIX: pa.array(located.homes),
        CHUNK: pa.array(chunks),
        SOURCE: _sources(located.sources, len(located.homes)),
    }
    system |= {n: pa.array(v) for n, v in zip(UNIT_VECTOR, vectors, strict=False)}
    arrays = [system[name] for name in located.table.system_columns]
    schema = stored_schema(located.table)
    return pa.Table.from_arrays([*arrays, *located.data.columns], schema=schema)


def _sources(sources: npt.NDArray[np.int32] | None, count: int) -> pa.Array:
    return pa.array(np.zeros(count, np.int32) if sources is None else sources)
