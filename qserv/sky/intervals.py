"""Sets of real numbers as closed intervals: where a coordinate may lie."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Intervals:
    """A set of numbers as sorted, disjoint, closed intervals.

    Parameters
    ----------
    pairs
        (first, last) of each interval, ascending; `of` makes this from any pairs. An
        end may be infinite.
    """

    pairs: tuple[Pair, ...]

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> Self:
        """Return the union of closed intervals; those that run backwards are empty."""
        merged: list[Pair] = []
        for low, high in sorted(p for p in pairs if p[0] <= p[1]):
            if merged and low <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], high))
            else:
                merged.append((low, high))
        return cls(tuple(merged))

    @classmethod
    def all(cls) -> Self:
        """Return all numbers."""
        return cls(((-math.inf, math.inf),))

    @property
    def is_empty(self) -> bool:
        """Whether there is no number in it."""
        return not self.pairs

    @property
    def ends(self) -> Pair:
        """The least and the greatest number; there must be one."""
        return self.pairs[0][0], self.pairs[-1][1]

    def contains(self, number: float) -> bool:
        """Whether a number is in the set."""
        return any(low <= number <= high for low, high in self.pairs)

    def through(self, change: Callable[[float, float], Iterable[Pair]]) -> Self:
        """Return the union of what each interval becomes."""
        return self.of(new for pair in self.pairs for new in change(*pair))

    def simplify(self, most: int) -> Self:
        """Return a superset of at most `most` (1 or more) intervals.

        The smallest gaps are filled.
        """
        if len(self.pairs) <= most:
            return self
        gaps = [b[0] - a[1] for a, b in pairwise(self.pairs)]
        filled = sorted(range(len(gaps)), key=gaps.__getitem__)[: len(gaps) - most + 1]
        bridges = ((self.pairs[i][1], self.pairs[i + 1][0]) for i in filled)
        return self.of((*self.pairs, *bridges))

    def __and__(self, other: Self) -> Self:
        mine, theirs = self.pairs, other.pairs
        both, i, j = [], 0, 0
        while i < len(mine) and j < len(theirs):
            both.append((max(mine[i][0], theirs[j][0]), min(mine[i][1], theirs[j][1])))
            if mine[i][1] < theirs[j][1]:
                i += 1
            else:
                j += 1
        return self.of(both)

    def __or__(self, other: Self) -> Self:
        return self.of((*self.pairs, *other.pairs))
