"""Python's garbage collector in a process that serves: out of the way of queries.

What start-up made (modules, schemas, connections) lives as long as the process, and
walking it again and again took a quarter of a point query's time.
"""

import gc
from typing import Final

_YOUNG: Final = 50_000
"""Objects made before the young are looked through: many queries' worth."""


def settle() -> None:
    """Take everything that is there now out of the collector's sight."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 10, 10)
