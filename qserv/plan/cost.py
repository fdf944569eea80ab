"""What a plan costs, before it runs: what EXPLAIN prints, and limits act on.

Rough on purpose, and no part of any answer. Where the chunks of a fragment are known,
so are the rows and bytes of their files; what comes out of a stage, and what is made
of unknown keys, are guesses (`qserv.plan.estimate`). Overlap and halo rows are not
counted: they are few beside the rows of the chunks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from qserv.plan.estimate import width
from qserv.plan.plan import Fragment, Input, Plan, Route, Sharing, Stage, SystemRows

_READ: Final = 5e8
"""Bytes that a core reads in a second. Warm Parquet averaged over gave 1.3e9 to 3e9 on
one DuckDB thread; a cold disk gives 2e8 to 7e8, and functions cost as much again."""
_JOINED: Final = 1e8
"""Rows that a core joins in a second. DuckDB made 1e9 pairs of a cartesian product in
a second on one thread, and 1e7 of a hash join."""
_MOVED: Final = 3e8
"""Bytes that a worker sends in a second: half of what gRPC moved on loopback."""
_STAGE: Final = 0.01
"""Seconds from a task's start to its first row."""
_CHUNK: Final = 2e-4
"""Seconds to open the files of a chunk: 0.1 ms each, measured."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a plan costs.

    Parameters
    ----------
    rows
        That its largest join makes.
    bytes_read
        From files, by all workers.
    bytes_moved
        Between workers and czar, and among workers, before the last stage.
    result_rows, result_bytes
        Of the answer.
    seconds
        From start to end, with nothing else running.
    """

    rows: float
    bytes_read: float
    bytes_moved: float
    result_rows: float
    result_bytes: float
    seconds: float


def cost(
    plan: Plan, routes: Mapping[int, Route], *, workers: int = 1, cores: int = 1
) -> Cost:
    """Estimate what a plan costs.

    Parameters
    ----------
    plan
        The plan.
    routes
        Stage number -> where it runs, as far as it is known.
    workers, cores
        How many workers answer it, and how many threads they have together.
    """
    read = moved = seconds = 0.0
    for number, stage in enumerate(plan.stages):
        bytes_read = _read(stage, routes.get(number))
        bytes_moved = _moved(plan, stage, workers)
        power = cores if isinstance(stage, Fragment) else 1
        chunks = _chunks(stage, routes.get(number))
        seconds += _STAGE + _CHUNK * chunks / power
        seconds += (bytes_read / _READ + _joined(stage) / _JOINED) / power
        seconds += bytes_moved / _MOVED / workers
        read, moved = read + bytes_read, moved + bytes_moved
    last = plan.stages[-1]
    size = last.expected * width(last.columns)
    return Cost(
        rows=max(map(_joined, plan.stages)),
        bytes_read=read,
        bytes_moved=moved + sum(_size(stage) for stage in plan.stages[:-1]),
        result_rows=last.expected,
        result_bytes=size,
        seconds=seconds + size / _MOVED,
    )


def _joined(stage: Stage) -> float:
    return 0.0 if isinstance(stage, SystemRows) else stage.joined


def _size(stage: Stage) -> float:
    return stage.expected * width(stage.columns)


def _chunks(stage: Stage, route: Route | None) -> int:
    return 0 if route is None or not isinstance(stage, Fragment) else route.chunks.size


def _read(stage: Stage, route: Route | None) -> float:
    """Return about how many bytes of files a stage reads: of some columns, not all."""
    if not isinstance(stage, Fragment):
        return 0.0
    row = max((width(source.columns) for source in stage.sources), default=0)
    if route is None or stage.family is None:
        return stage.expected * row
    return min(float(route.size), float(route.rows * row))


def _moved(plan: Plan, stage: Stage, workers: int) -> float:
    """Return about how many bytes of earlier stages go to a stage's workers."""
    if not isinstance(stage, Fragment):
        return 0.0

    def size(each: Input) -> float:
        copies = workers if each.sharing is Sharing.BROADCAST else 1
        return _size(plan.stages[each.stage]) * copies

    return sum(map(size, stage.inputs))
