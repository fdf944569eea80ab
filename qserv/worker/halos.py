"""Which rows around a batch's chunks it reads, and where they are: pure.

A halo is made of the own rows of whole chunks, each chunk once: of every chunk that has
a point within reach of a chunk of the batch. Chunks held here are read from their
files; the rows of others come from peers, and of these only rows whose home lies within
reach of the task's chunks. More rows than those in reach do no harm.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from qserv.errors import InvalidRequest
from qserv.sky import regions
from qserv.sky.chunking import pixel_ranges
from qserv.sky.ranges import RangeSet

__all__ = ["Halo", "Near"]

_RANGES: Final = 16
"""Ranges that a condition in SQL has at most."""

Ids = npt.NDArray[np.int64]
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Near:
    """What a batch reads of a halo.

    Parameters
    ----------
    here, elsewhere
        Chunks held by this worker, and the others.
    ranges
        Half-open ranges of homes that hold every row in reach.
    """

    here: tuple[int, ...]
    elsewhere: tuple[int, ...]
    ranges: Ranges


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
        self._bounds = pixel_ranges(self._chunks).reshape(-1, 2)
        self._reach = reach
        self._held = held

    def near(self, chunks: Iterable[int]) -> Near:
        """Return what lies within reach of some chunks."""
        area = regions.dilate(
            RangeSet.of(pixel_ranges(np.array([*chunks], dtype=np.int64))),
            self._reach,
        )
        found: list[int] = self._chunks[_touching(self._bounds, area)].tolist()
        return Near(
            here=tuple(chunk for chunk in found if chunk in self._held),
            elsewhere=tuple(chunk for chunk in found if chunk not in self._held),
            ranges=tuple(
                (low, high) for low, high in area.simplify(_RANGES).bounds.tolist()
            ),
        )


def _touching(bounds: Ids, area: RangeSet) -> npt.NDArray[np.bool_]:
    if area.is_empty:
        return np.zeros(len(bounds), dtype=np.bool_)
    first = np.searchsorted(area.bounds[:, 1], bounds[:, 0], side="right")
    start = area.bounds[np.minimum(first, len(area) - 1), 0]
    return np.asarray((first < len(area)) & (start < bounds[:, 1]))
