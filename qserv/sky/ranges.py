"""Sorted HEALPix ranges: the one currency of area.

A region of the sky, the cover of a query, the extent of a chunk: each is a set of
HEALPix NESTED pixels of order 29, kept as half-open ranges.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from qserv.errors import InvalidRequest
from qserv.sky.healpix import ORDER, Pixels

SPHERE: Final = 12 * 4**ORDER
"""The number of pixels of the sphere at `ORDER`."""

_Flags = npt.NDArray[np.bool_]


def spelled_out(first: Pixels, count: Pixels) -> Pixels:
    """Return, pair by pair, the `count` numbers from `first` on."""
    before = np.cumsum(count) - count
    return np.repeat(first - before, count) + np.arange(np.sum(count))


@dataclass(frozen=True, slots=True, eq=False)
class RangeSet:
    """A set of order-29 pixels as sorted, disjoint, half-open ranges.

    Sets are equal when they hold the same pixels: ranges that touch are one.

    Parameters
    ----------
    bounds
        Shape (n, 2): first pixel, and the pixel after the last. Strictly increasing
        throughout; `of` makes this from any pairs. Kept as a read-only copy.

    Raises
    ------
    InvalidRequest
        If the bounds do not increase strictly or leave the sphere.
    """

    bounds: Pixels

    def __post_init__(self) -> None:
        bounds = np.array(self.bounds, dtype=np.int64).reshape(-1, 2)
        edges = bounds.reshape(-1)
        if edges.size and (edges[0] < 0 or edges[-1] > SPHERE):
            raise InvalidRequest(
                f"HEALPix ranges [{edges[0]}, {edges[-1]}) leave the sphere: "
                f"order-{ORDER} pixels lie in [0, {SPHERE})"
            )
        if np.any(edges[1:] <= edges[:-1]):
            raise InvalidRequest(
                "HEALPix ranges must be sorted and disjoint; make them by RangeSet.of"
            )
        bounds.setflags(write=False)
        object.__setattr__(self, "bounds", bounds)

    @classmethod
    def of(cls, pairs: npt.ArrayLike | Iterable[Sequence[int]]) -> Self:
        """Return the union of half-open ranges given in any order.

        Parameters
        ----------
        pairs
            Pairs (first, after the last); they may overlap, touch and be empty.

        Raises
        ------
        InvalidRequest
            If a pair runs backwards or leaves the sphere.
        """
        given = pairs if isinstance(pairs, np.ndarray) else list(pairs)  # type: ignore[arg-type]
        bounds = np.asarray(given, dtype=np.int64).reshape(-1, 2)
        if np.any(bounds[:, 1] < bounds[:, 0]):
            raise InvalidRequest("a HEALPix range ends before it begins; swap its ends")
        bounds = bounds[bounds[:, 1] > bounds[:, 0]]
        bounds = bounds[np.argsort(bounds[:, 0], kind="stable")]
        if not len(bounds):
            return cls.nothing()
        reach = np.maximum.accumulate(bounds[:, 1])
        starts = np.concatenate(([True], bounds[1:, 0] > reach[:-1]))
        ends = np.concatenate((starts[1:], [True]))
        return cls(np.column_stack((bounds[starts, 0], reach[ends])))

    @classmethod
    def everything(cls) -> Self:
        """Return the whole sphere."""
        return cls(np.array([[0, SPHERE]], dtype=np.int64))

    @classmethod
    def nothing(cls) -> Self:
        """Return the empty set."""
        return cls(np.empty((0, 2), dtype=np.int64))

    @classmethod
    def from_pixels(cls, order: int, pixels: npt.ArrayLike) -> Self:
        """Return the set that NESTED pixels of some order make.

        Parameters
        ----------
        order
            Their order, 0 to 29.
        pixels
            In any order; they may repeat.
        """
        shift = 2 * (ORDER - order)
        distinct = np.unique(np.asarray(pixels, dtype=np.int64))
        return cls.of(np.column_stack((distinct << shift, (distinct + 1) << shift)))

    @property
    def is_empty(self) -> bool:
        """Whether there is no pixel in it."""
        return len(self.bounds) == 0

    def touched(self, order: int) -> int:
        """Return how many pixels of an order the set touches."""
        first, last = self.coarsen(order).bounds.T >> 2 * (ORDER - order)
        return int(np.sum(last - first))

    def pixels(self, order: int) -> Pixels:
        """Return the pixels of an order that the set touches, sorted."""
        first, last = self.coarsen(order).bounds.T >> 2 * (ORDER - order)
        return spelled_out(first, last - first)

    def coarsen(self, order: int) -> Self:
        """Return the superset that whole pixels of an order make."""
        shift = 2 * (ORDER - order)
        first, last = self.bounds[:, 0], self.bounds[:, 1] - 1
        return type(self).of(
            np.column_stack((first >> shift << shift, (last >> shift) + 1 << shift))
        )

    def cells(self) -> dict[int, Pixels]:
        """Return the fewest pixels that together are the set.

        Returns
        -------
        dict
            Order -> its pixels, sorted; only orders that have any.
        """
        found: dict[int, Pixels] = {}
        left = self.bounds
        for order in range(ORDER + 1):
            shift = 2 * (ORDER - order)
            first, after = (left[:, 0] - 1 >> shift) + 1, left[:, 1] >> shift
            whole = first < after
            if not np.any(whole):
                continue
            held = left[whole]
            first, after = first[whole], after[whole]
            found[order] = spelled_out(first, after - first)
            before = np.column_stack((held[:, 0], first << shift))
            behind = np.column_stack((after << shift, held[:, 1]))
            rest = np.concatenate((left[~whole], before, behind))
            left = rest[rest[:, 0] < rest[:, 1]]
        return {order: np.sort(pixels) for order, pixels in found.items()}

    def contains(self, pixels: npt.ArrayLike) -> _Flags:
        """Tell for each order-29 pixel whether it is in the set."""
        # Inside a range, an odd number of edges lies at or before the pixel.
        edges = self.bounds.reshape(-1)
        passed = np.searchsorted(edges, np.asarray(pixels, np.int64), side="right")
        return np.asarray(passed % 2 == 1)

    def simplify(self, most: int) -> Self:
        """Return a superset of at most `most` ranges, filling the smallest gaps.

        Raises
        ------
        InvalidRequest
            If `most` is less than 1.
        """
        if most < 1:
            raise InvalidRequest(f"a cover needs at least one range, not {most}")
        if len(self) <= most:
            return self
        gaps = self.bounds[1:, 0] - self.bounds[:-1, 1]
        kept = np.sort(np.argsort(gaps, kind="stable")[len(gaps) - (most - 1) :])
        starts = np.concatenate(([0], kept + 1))
        ends = np.concatenate((kept, [len(gaps)]))
        return type(self)(
            np.column_stack((self.bounds[starts, 0], self.bounds[ends, 1]))
        )

    def _combine(self, other: Self, keep: Callable[[_Flags, _Flags], _Flags]) -> Self:
        edges = np.unique(np.concatenate((self.bounds, other.bounds), axis=None))
        kept = keep(self.contains(edges), other.contains(edges))
        # No set contains its last edge, so each run of kept edges is closed by one.
        changed = kept != np.concatenate(([False], kept[:-1]))
        return type(self)(edges[changed].reshape(-1, 2))

    def __and__(self, other: Self) -> Self:
        return self._combine(other, np.logical_and)

    def __or__(self, other: Self) -> Self:
        return self._combine(other, np.logical_or)

    def __sub__(self, other: Self) -> Self:
        return self._combine(other, np.greater)

    def __len__(self) -> int:
        return len(self.bounds)

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RangeSet):
            return NotImplemented
        return np.array_equal(self.bounds, other.bounds)

    @override
    def __hash__(self) -> int:
        return hash(self.bounds.tobytes())
