"""Find the pixels of a region from coarse to fine, splitting what its border cuts."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from qserv.sky import healpix
from qserv.sky.healpix import ORDER, Pixels
from qserv.sky.ranges import RangeSet

Flags = npt.NDArray[np.bool_]
Sorter = Callable[[int, Pixels], tuple[Flags, Flags]]
"""Tells, of pixels of an order, which lie wholly inside, and which may be cut."""


def refine(
    order: int, pixels: Pixels, sort: Sorter, *, most: int, finest: int
) -> tuple[RangeSet, RangeSet]:
    """Sort pixels into those inside a region and those that its border may cut.

    Parameters
    ----------
    order, pixels
        Where to begin: pixels that together hold the region.
    sort
        Tells inside from cut; what is neither is dropped.
    most
        Pixels that are cut are split until there are more of them than this.
    finest
        The order at which splitting ends anyway.

    Returns
    -------
    inside, cut
        Together they hold the region; `inside` alone is held by it.
    """
    held = []
    while True:
        inside, cut = sort(order, pixels)
        held.append(_bounds(order, pixels[inside]))
        pixels = pixels[cut]
        if not 0 < len(pixels) <= most or order >= finest:
            break
        order, pixels = order + 1, healpix.children(pixels)
    return RangeSet.of(np.concatenate(held)), RangeSet.of(_bounds(order, pixels))


def _bounds(order: int, pixels: Pixels) -> Pixels:
    shift = 2 * (ORDER - order)
    return np.column_stack((pixels << shift, (pixels + 1) << shift))


def united(*parts: RangeSet) -> RangeSet:
    """Return the union of any number of sets, in one pass."""
    empty = RangeSet.nothing().bounds
    return RangeSet.of(np.concatenate([empty, *(part.bounds for part in parts)]))
