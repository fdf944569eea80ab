"""Counts rows by where they lie, in as few numbers as it takes to split a tree.

Of a billion rows nearly each has a pixel of its own. Where rows are few, their pixels
are counted together: as fine as all rows are told apart where they are many.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from qserv.ingest.ordering import ascending, starts

_FINE: Final = 256
"""Into how many parts a full leaf, or a share of one, is told apart at least."""

Integers = npt.NDArray[np.int64]
Counted = tuple[Integers, Integers]
"""Pixels of one order, ascending, and how many rows each stands for."""


def counted(sorted_pixels: Integers) -> Counted:
    """Count the rows whose pixels are given."""
    first = starts(sorted_pixels)
    return sorted_pixels[first], np.diff(first, append=len(sorted_pixels))


def added(*counts: Counted) -> Counted:
    """Add up the counts of several sets of pixels."""
    pixels = np.concatenate([pixels for pixels, _ in counts])
    rows = np.concatenate([rows for _, rows in counts])
    order = ascending(pixels)
    if not order.size:
        return pixels, rows
    first = starts(pixels[order])
    return pixels[order][first], np.add.reduceat(rows[order], first)


def few(leaf_rows: int, share_rows: float, tasks: int = 1) -> int:
    """Return how many rows may be counted together, wherever in a pixel they lie.

    Parameters
    ----------
    leaf_rows, share_rows
        Rows that a leaf may hold, and that a task cuts into files.
    tasks
        How many count, each for itself.
    """
    return int(min(leaf_rows, share_rows) // (_FINE * tasks))


def coarse(found: Counted, most: int) -> Counted:
    """Count pixels together that have few rows.

    Parameters
    ----------
    found
        At least one pixel.
    most
        As many rows a coarser pixel may have and be counted as one.

    Returns
    -------
    Counted
        The first pixel of each coarser one, of those that have rows, stands for it.
    """
    pixels, rows = found
    shift = 0
    while True:
        shift += 2
        first = starts(pixels >> shift)
        together = np.add.reduceat(rows, first)
        joined = together <= most
        if len(pixels) == 1 or not joined.any():
            return pixels, rows
        kept = np.repeat(~joined, np.diff(first, append=len(pixels)))
        kept[first] = True
        rows = rows.copy()
        rows[first[joined]] = together[joined]
        pixels, rows = pixels[kept], rows[kept]
