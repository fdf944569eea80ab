"""Sorts whole numbers, stably: the most frequent heavy step of a load.

numpy sorts plain numbers many times as fast as it finds the order of numbers. So each
number is packed with its place into one of 64 bits, as far as both fit.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Integers = npt.NDArray[np.int64]

_BITS = 64


def ascending(values: Integers) -> Integers:
    """Return what sorts whole numbers; equal ones stay in their order.

    Notes
    -----
    Homes have 62 bits and a run a few million rows: about 20 bits do not fit. Those are
    dropped from the number, and what they would have told apart is sorted afterwards.
    """
    if len(values) < 2:
        return np.arange(len(values))
    low, high = int(values.min()), int(values.max())
    places = (len(values) - 1).bit_length()
    dropped = max(0, (high - low).bit_length() + places - _BITS)
    # Without a sign: the distance of two numbers of 64 bits may have as many.
    packed = values.view(np.uint64) - np.uint64(low % 2**_BITS)
    packed >>= np.uint64(dropped)
    packed <<= np.uint64(places)
    packed |= np.arange(len(values), dtype=np.uint64)
    packed.sort()
    order = (packed & np.uint64((1 << places) - 1)).view(np.int64)
    if dropped:
        return untied(order, packed >> np.uint64(places), values[order])
    return order


def untied(
    order: Integers, first: npt.NDArray[np.integer], ranks: Integers
) -> Integers:
    """Sort by rank where the first are equal: seldom, and a sort by both costs more.

    Parameters
    ----------
    order
        What sorts rows by the first; changed in place.
    first, ranks
        Of the rows in that order.
    """
    new = first[1:] != first[:-1]
    wrong = ~new & (ranks[1:] < ranks[:-1])
    if not wrong.any():
        return order
    group = np.concatenate(([0], np.cumsum(new)))
    touched = np.zeros(group[-1] + 1, dtype=np.bool_)
    touched[group[1:][wrong]] = True
    at = np.flatnonzero(touched[group])
    order[at] = order[at][np.lexsort((ranks[at], group[at]))]
    return order


def by_key(keys: pa.Array) -> Integers:
    """Return what sorts keys (int64 or string, none NULL), stably."""
    if pa.types.is_integer(keys.type):
        return ascending(keys.to_numpy())
    found: Integers = pc.sort_indices(keys).to_numpy().astype(np.int64)
    return found


def runs_of(sorted_values: Integers) -> Iterator[tuple[int, int]]:
    """Return start and stop of each run of equal values."""
    if sorted_values.size:
        yield from pairwise([*starts(sorted_values).tolist(), len(sorted_values)])


def starts(sorted_values: Integers) -> Integers:
    """Return where each run of equal values begins; there is at least one value."""
    new = sorted_values[1:] != sorted_values[:-1]
    return np.concatenate(([0], np.flatnonzero(new) + 1))


def in_order(rows: pa.Table, order: Integers) -> pa.Table:
    """Return rows in an order that one of these functions found."""
    return pc.take(rows, pa.array(order), boundscheck=False)
