"""The chunk tree of a family, and the complete overlap of its leaves.

A chunk is a HEALPix NESTED pixel of some order, numbered ``4 * 4**order + pixel`` (the
NUNIQ number). The leaves of a tree lie at different orders and together cover the
sphere exactly once; a leaf without rows is a leaf.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, overload

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from qserv.errors import InvalidRequest
from qserv.sky import healpix
from qserv.sky.healpix import ORDER, Pixels
from qserv.sky.ranges import SPHERE, RangeSet, spelled_out

CHILD_ROWS_FACTOR: Final = 50
"""A leaf may hold this many times `leaf_rows` rows of each child table."""

_FIRST_CHUNK: Final = 4 ** np.arange(1, ORDER + 3, dtype=np.int64)
"""The smallest chunk id of each order, and one past the largest of the last."""


@overload
def chunk_id(order: int, pixel: int) -> int: ...
@overload
def chunk_id(order: int | Pixels, pixel: Pixels) -> Pixels: ...
def chunk_id(order: int | Pixels, pixel: int | Pixels) -> int | Pixels:
    """Return the id of the chunk that is a pixel of some order."""
    return 4 * 4**order + pixel


@overload
def order_of(chunk: int) -> int: ...
@overload
def order_of(chunk: Pixels) -> Pixels: ...
def order_of(chunk: int | Pixels) -> int | Pixels:
    """Return the order of a chunk, or of each of an array.

    Raises
    ------
    InvalidRequest
        If a number is no chunk id.
    """
    orders = np.searchsorted(_FIRST_CHUNK, chunk, side="right") - 1
    if np.any(orders < 0) or np.any(orders > ORDER):
        raise InvalidRequest(f"{chunk} is no chunk id: ids are 4 * 4**order + pixel")
    return orders if isinstance(chunk, np.ndarray) else int(orders)


@overload
def pixel_of(chunk: int) -> int: ...
@overload
def pixel_of(chunk: Pixels) -> Pixels: ...
def pixel_of(chunk: int | Pixels) -> int | Pixels:
    """Return the pixel of a chunk at the chunk's order, or of each of an array."""
    return chunk - 4 * 4 ** order_of(chunk)


def pixel_range(chunk: int) -> tuple[int, int]:
    """Return the half-open range of order-29 pixels that a chunk holds."""
    low, high = pixel_ranges(np.array([chunk]))[0].tolist()
    return low, high


def pixel_ranges(chunks: Pixels) -> Pixels:
    """Return the half-open ranges of order-29 pixels of chunks, shape (n, 2)."""
    shift = 2 * (ORDER - order_of(chunks))
    pixel = pixel_of(chunks)
    return np.column_stack((pixel << shift, (pixel + 1) << shift))


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """The rows of one table, as far as they decide where a tree is split.

    Parameters
    ----------
    homes
        Order-29 pixels: the home of each row, in any order, with repetitions.
    row_bytes
        Bytes that a row takes when stored, estimated.
    director
        Whether it is a director table; else a child.
    rows
        How many rows each of `homes` stands for; None when each is one row.
    """

    homes: Pixels
    row_bytes: float
    director: bool
    rows: Pixels | None = None

    def counter(self) -> Callable[[Pixels], Pixels]:
        """Return a function that counts the rows in each of (n, 2) pixel ranges."""
        order = np.argsort(self.homes)
        homes = self.homes[order]
        rows = np.ones_like(homes) if self.rows is None else self.rows[order]
        before = np.concatenate(([0], np.cumsum(rows)))

        def count(ranges: Pixels) -> Pixels:
            return np.diff(before[np.searchsorted(homes, ranges)], axis=1)[:, 0]

        return count


@dataclass(frozen=True, slots=True, eq=False)
class ChunkTree:
    """The leaves of a family's tree.

    Parameters
    ----------
    chunks
        Chunk ids sorted by sky range; together they cover the sphere exactly once.
        Kept as a read-only copy.

    Raises
    ------
    InvalidRequest
        If they do not.
    """

    chunks: Pixels
    _lows: Pixels = field(init=False, repr=False)

    def __post_init__(self) -> None:
        chunks = np.array(self.chunks, dtype=np.int64).reshape(-1)
        ranges = pixel_ranges(chunks)
        expected = np.concatenate(([0], ranges[:, 1]))
        actual = np.concatenate((ranges[:, 0], [SPHERE]))
        if not np.array_equal(expected, actual):
            at = int(np.flatnonzero(expected != actual)[0])
            raise InvalidRequest(
                f"{len(chunks)} chunks are not a tree: at leaf {at} the sky is covered "
                f"up to order-{ORDER} pixel {expected[at]}, and goes on at {actual[at]}"
            )
        lows = np.ascontiguousarray(ranges[:, 0])
        for name, array in (("chunks", chunks), ("_lows", lows)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @staticmethod
    def uniform(order: int) -> "ChunkTree":
        """Return the tree whose leaves are all pixels of one order."""
        return ChunkTree(chunk_id(order, np.arange(12 * 4**order, dtype=np.int64)))

    @staticmethod
    def build(
        loads: Sequence[Load], *, leaf_rows: int, leaf_bytes: int, max_order: int
    ) -> "ChunkTree":
        """Split the sky until no leaf holds more than its limits.

        A pixel is split while a director table has more than `leaf_rows` rows in it, or
        a child table more than `CHILD_ROWS_FACTOR` times that, or all tables together
        more than `leaf_bytes` bytes, unless it has `max_order` already.

        Parameters
        ----------
        loads
            The tables of the family's first load.
        leaf_rows, leaf_bytes
            Limits of a leaf.
        max_order
            The deepest order that the overlap allows: `deepest_order`.

        Raises
        ------
        InvalidRequest
            If a limit is less than 1 or `max_order` is not an order.
        """
        if leaf_rows < 1 or leaf_bytes < 1 or not 0 <= max_order <= ORDER:
            raise InvalidRequest(
                f"a tree needs leaf_rows >= 1, leaf_bytes >= 1 and max_order from 0 to "
                f"{ORDER}, not {leaf_rows}, {leaf_bytes} and {max_order}"
            )
        too_full = _fullness(loads, leaf_rows, leaf_bytes)
        leaves = []
        pixels = np.arange(12, dtype=np.int64)
        for order in range(max_order + 1):
            chunks = chunk_id(order, pixels)
            split = too_full(pixel_ranges(chunks)) & (order < max_order)
            leaves.append(chunks[~split])
            pixels = healpix.children(pixels[split])
        found = np.concatenate(leaves)
        return ChunkTree(found[np.argsort(pixel_ranges(found)[:, 0])])

    @property
    def orders(self) -> tuple[int, ...]:
        """The orders at which there are leaves, ascending."""
        return tuple(np.unique(order_of(self.chunks)).tolist())

    def locate(self, pixels: Pixels) -> Pixels:
        """Return the chunk that holds each order-29 pixel.

        Raises
        ------
        InvalidRequest
            If a number is no order-29 pixel.
        """
        pixels = np.asarray(pixels, dtype=np.int64)
        if pixels.size and not 0 <= pixels.min() <= pixels.max() < SPHERE:
            raise InvalidRequest(f"order-{ORDER} pixels lie in [0, {SPHERE})")
        return self.chunks[self._leaf(pixels)]

    def overlapping(self, ranges: RangeSet) -> Pixels:
        """Return the chunks that share a pixel with `ranges`, sorted by sky range."""
        touched = np.zeros(len(self.chunks) + 1, dtype=np.int64)
        np.add.at(touched, self._leaf(ranges.bounds[:, 0]), 1)
        np.add.at(touched, self._leaf(ranges.bounds[:, 1] - 1) + 1, -1)
        return self.chunks[np.cumsum(touched[:-1]) > 0]

    def positions(self, chunk_ids: Pixels) -> npt.NDArray[np.intp]:
        """Return where chunks stand in `chunks`.

        Raises
        ------
        InvalidRequest
            If one of them is no leaf of this tree.
        """
        chunk_ids = np.asarray(chunk_ids, dtype=np.int64)
        found = self._leaf(pixel_ranges(chunk_ids)[:, 0])
        if np.any(strangers := self.chunks[found] != chunk_ids):
            raise InvalidRequest(
                f"chunk {chunk_ids[strangers][0]} is no leaf of this tree of "
                f"{len(self.chunks)} chunks; was it made for another tree version?"
            )
        return found

    def _leaf(self, pixels: Pixels) -> npt.NDArray[np.intp]:
        return np.searchsorted(self._lows, pixels, side="right") - 1

    def __len__(self) -> int:
        return len(self.chunks)

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ChunkTree):
            return NotImplemented
        return np.array_equal(self.chunks, other.chunks)

    @override
    def __hash__(self) -> int:
        return hash(self.chunks.tobytes())


def _fullness(
    loads: Sequence[Load], leaf_rows: int, leaf_bytes: int
) -> Callable[[Pixels], npt.NDArray[np.bool_]]:
    """Return a function that tells which of (n, 2) pixel ranges exceed a limit."""
    counters = [(load, load.counter()) for load in loads]

    def too_full(ranges: Pixels) -> npt.NDArray[np.bool_]:
        full = np.zeros(len(ranges), dtype=np.bool_)
        size = np.zeros(len(ranges), dtype=np.float64)
        for load, count in counters:
            rows = count(ranges)
            full |= rows > leaf_rows * (1 if load.director else CHILD_ROWS_FACTOR)
            size += rows * load.row_bytes
        return full | (size > leaf_bytes)

    return too_full


def deepest_order(overlap_deg: float) -> int:
    """Return the deepest order of a leaf that an overlap radius allows.

    A leaf is at least twice as wide as the pixels that its overlap is made of, and
    those are at least as wide as the radius: 60 arcsec allow order 10.

    Parameters
    ----------
    overlap_deg
        Degrees.

    Raises
    ------
    InvalidRequest
        If the radius is negative, or too wide even for leaves of order 0.
    """
    deepest = _margin_order(overlap_deg) - 1
    if deepest < 0:
        raise InvalidRequest(
            f"an overlap of {overlap_deg} degrees is too wide for any tree; it must be "
            f"less than {healpix.min_width(1):.2f} degrees"
        )
    return deepest


def widest_overlap(order: int) -> float:
    """Return the widest overlap radius that leaves of an order allow, in degrees."""
    return healpix.min_width(order + 1) - healpix.SLACK


def _margin_order(radius_deg: float) -> int:
    if not radius_deg >= 0:
        raise InvalidRequest(
            f"an overlap radius is 0 degrees or more, not {radius_deg}"
        )
    return healpix.order_wider_than(radius_deg)


def overlap_hosts(
    lon: npt.ArrayLike, lat: npt.ArrayLike, tree: ChunkTree, radius_deg: float
) -> tuple[npt.NDArray[np.intp], Pixels]:
    """Return beside which chunks each row must be stored, apart from its own.

    Complete: every leaf that has a point within the radius (+ 1 mas) of the row, other
    than the leaf that holds the row, is among its hosts. Every host touches the margin
    pixel that the row lies in (see Notes): it is at most that pixel's extent away.

    Parameters
    ----------
    lon, lat
        The rows' own positions, degrees, shape (n,).
    tree
        The leaves.
    radius_deg
        Overlap radius in degrees.

    Returns
    -------
    rows
        Indices into `lon`, ascending; a row occurs once for each of its hosts.
    hosts
        Chunk ids, aligned with `rows`.

    Raises
    ------
    InvalidRequest
        If a position is not on the sky, or a leaf is too small for the radius.

    Notes
    -----
    The margin order is the finest whose pixels are surely wider than the radius
    (`healpix.min_width`): a point within the radius of a row lies in the row's margin
    pixel or in one of its neighbours. Each margin pixel lies in one leaf, because all
    leaves are larger. So the leaves of the neighbours are all the hosts there can be.
    """
    if tree.orders[-1] > deepest_order(radius_deg):
        raise InvalidRequest(
            f"a tree with leaves of order {tree.orders[-1]} is too deep for an overlap "
            f"of {radius_deg} degrees: make leaves of order "
            f"{deepest_order(radius_deg)} at most, or the overlap smaller"
        )
    order = _margin_order(radius_deg)
    shift = 2 * (ORDER - order)
    margin = healpix.pixels(lon, lat).reshape(-1) >> shift
    near = np.flatnonzero(_at_border(margin, order, tree))
    distinct, which = np.unique(margin[near], return_inverse=True)
    starts, hosts = _neighbour_leaves(distinct, order, tree)
    counts = np.diff(starts)[which]
    rows = np.repeat(near, counts)
    return rows, hosts[spelled_out(starts[which], counts)]


def _at_border(margin: Pixels, order: int, tree: ChunkTree) -> npt.NDArray[np.bool_]:
    """Tell which margin pixels lie along a side of the leaf that holds them."""
    leaf_order = order_of(tree.locate(margin << 2 * (ORDER - order)))
    inside = 4 ** (order - leaf_order) - 1
    # The bits of a NESTED pixel are those of its two coordinates, in turn.
    border = np.zeros(margin.shape, dtype=np.bool_)
    for coordinate in (0x5555555555555555, 0x2AAAAAAAAAAAAAAA):
        far = inside & coordinate
        place = margin & far
        border |= (place == 0) | (place == far)
    return border


def _neighbour_leaves(
    margin: Pixels, order: int, tree: ChunkTree
) -> tuple[Pixels, Pixels]:
    """Return, in CSR form, the leaves around margin pixels, without their own."""
    shift = 2 * (ORDER - order)
    around = healpix.neighbours(order, margin)
    own = tree.locate(margin << shift)[:, np.newaxis]
    leaves = np.where(around < 0, own, tree.locate(np.maximum(around, 0) << shift))
    leaves = np.sort(np.where(leaves == own, -1, leaves), axis=1)
    new = leaves >= 0
    new[:, 1:] &= leaves[:, 1:] != leaves[:, :-1]
    starts = np.concatenate(([0], np.cumsum(new.sum(axis=1))))
    return starts, leaves[new]
