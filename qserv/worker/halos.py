"""Which rows around a batch's chunks it reads, and where they are: pure.

A halo is made of the own rows of whole chunks, each chunk once: of every chunk that has
a point within reach of a chunk of the batch. Chunks held here are read from their
files; the rows of others come from peers. Of all of them only rows are read whose home
lies in a pixel that reaches the batch; more rows than those in reach do no harm.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from qserv.errors import InvalidRequest
from qserv.sky import regions
from qserv.sky.chunking import pixel_ranges
from qserv.sky.healpix import ORDER
from qserv.sky.ranges import RangeSet

__all__ = ["Halo", "Near"]

_RANGES: Final = 16
"""Ranges that a condition in SQL has at most."""
_PIXELS: Final = 262_144
"""Pixels that tell an area's shape, at most."""

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Near:
    """What some chunks need of a halo.

    Parameters
    ----------
    whole, partly
        Chunks that this worker holds: all of whose rows are read, or some.
    elsewhere
        Chunks that it does not hold.
    area
        Holds the home of every row in reach.
    """

    whole: tuple[int, ...]
    partly: tuple[int, ...]
    elsewhere: tuple[int, ...]
    area: RangeSet

    def ranges(self, chunks: Iterable[int]) -> tuple[tuple[int, int], ...]:
        """Return a few half-open ranges that hold what of the area is in chunks."""
        bounds = self._inside(chunks).simplify(_RANGES).bounds.tolist()
        return tuple((low, high) for low, high in bounds)

    def pixels(self, chunks: Iterable[int]) -> tuple[int, Ids]:
        """Return an order, and pixels of it that hold what of the area is in chunks."""
        area = self._inside(chunks)
        order = _exact_order(area)
        while order > 0 and area.touched(order) > _PIXELS:
            order -= 1
        return order, area.pixels(order)

    def _inside(self, chunks: Iterable[int]) -> RangeSet:
        bounds = pixel_ranges(np.array([*chunks], dtype=np.int64))
        return self.area & RangeSet.of(bounds)


class Halo:
    """The surroundings of one task's chunks in one source.

    Parameters
    ----------
    chunks
        Of the source's tree: all that may be within reach of a chunk of the task.
    reach
        Degrees.
    held
        Chunks of the source that this worker holds.

    Raises
    ------
    InvalidRequest
        If a chunk is named twice.
    """

    def __init__(
        self, chunks: Sequence[int], reach: float, held: frozenset[int]
    ) -> None:
        if len(set(chunks)) != len(chunks):
            raise InvalidRequest("a halo names a chunk twice")
        self._chunks = np.array(chunks, dtype=np.int64)
        self._bounds = pixel_ranges(self._chunks)
        self._reach = reach
        self._held = np.array([*held], dtype=np.int64)
        self._areas: dict[int, RangeSet] = {}

    def near(self, chunks: Iterable[int]) -> Near:
        """Return what lies within reach of some chunks; 0.2 ms for each new one."""
        # Chunk by chunk, for a larger area is dilated more roughly.
        areas = [self._area(chunk).bounds for chunk in chunks]
        area = RangeSet.of(np.concatenate(areas))
        touched, inside = _against(self._bounds, area)
        held = np.isin(self._chunks, self._held)
        return Near(
            whole=_some(self._chunks, inside & held),
            partly=_some(self._chunks, touched & ~inside & held),
            elsewhere=_some(self._chunks, touched & ~held),
            area=area,
        )

    def _area(self, chunk: int) -> RangeSet:
        if chunk not in self._areas:
            own = RangeSet.of(pixel_ranges(np.array([chunk])))
            self._areas[chunk] = regions.dilate(own, self._reach)
        return self._areas[chunk]


def _exact_order(area: RangeSet) -> int:
    """Return the coarsest order whose whole pixels make the area."""
    edges = int(np.bitwise_or.reduce(area.bounds, axis=None))
    zeros = (edges & -edges).bit_length() - 1 if edges else 2 * ORDER
    return ORDER - min(ORDER, zeros // 2)


def _against(
    bounds: Ids, area: RangeSet
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Tell which ranges touch the area, and which lie in it as a whole."""
    low, high = bounds.T
    first = np.searchsorted(area.bounds[:, 1], low, side="right")
    start, end = area.bounds[np.minimum(first, len(area) - 1)].T
    touched = (first < len(area)) & (start < high)
    return touched, touched & (start <= low) & (high <= end)


def _some(chunks: Ids, chosen: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(chunks[chosen].tolist())
