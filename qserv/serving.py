"""What a process that serves does once, so that queries do not pay for it."""

import gc
from typing import Final

_YOUNG: Final = 50_000
"""Objects made before the young are looked through: many queries' worth."""


def settle() -> None:
    """Import what would be imported late, and hide what is there from the collector.

    Arrow imports pandas (0.4 s) when it first converts a list. What start-up made
    (modules, schemas, connections) lives as long as the process; walking it again and
    again took a tenth of a point query's time.
    """
    import pyarrow as pa

    pa.array([0])
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 10, 10)
