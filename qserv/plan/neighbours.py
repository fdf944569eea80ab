"""Turn near-neighbour joins into joins on cells of the stored unit vector.

A distance test alone would compare every pair of rows in a chunk. Instead both sides
are put into cubic cells of side h in the space of unit vectors, each right row into
every cell that the ball of radius d about it reaches, and equal cells are joined:

    floor(a.x / h) = floor((b.x - d) / h) + i   for i = 0 or 1, and so for y and z

*Complete*: if the chord of a pair is at most d then |a.x - b.x| <= d, so a.x / h lies
between (b.x - d) / h and (b.x + d) / h, and so do the floors; since h >= 2d these are
equal or adjacent, which i counts. *No pair twice*: a left row has one cell, and a right
row at most one copy in it. There is no pole and no wrap. The exact chord test follows.
"""

import math
from dataclasses import dataclass
from typing import Final

from qserv.catalog.tables import CELL
from qserv.plan.query import Neighbours
from qserv.sky.regions import chord2

_SLACK: Final = 1e-12
"""A pair that the rounded test accepts may be this much farther apart, relatively."""
_LEAST: Final = 1e-9
"""Cells for a radius of 0: 0.2 mas, far below any catalog's precision."""
_WIDTH: Final = 4
"""h in units of d: 2 is the least; 4 copies a right row 3.4 times, not 8."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of one near-neighbour edge; d (`reach`) and h (`side`) are chords."""

    edge: Neighbours
    reach: float
    side: float

    @property
    def names(self) -> tuple[str, str, str]:
        """Column names of the cell, the same on both sides."""
        right = self.edge.right
        return f"{CELL}x{right}", f"{CELL}y{right}", f"{CELL}z{right}"


def cells(edge: Neighbours) -> Cells:
    """Choose the cells of a near-neighbour edge."""
    chord = math.sqrt(chord2(max(edge.radius, 0.0)))
    reach = max(chord * (1 + _SLACK) + _SLACK * _LEAST, _LEAST)
    return Cells(edge, reach, _WIDTH * reach)
