"""How long a query is parsed, planned and routed: ``make bench``.

Nothing runs and nobody is asked: catalogs of wide tables and of many chunks are made in
memory. Beside each time stands that of sqlglot alone, which only parses the same text:
on a noisy machine both grow together. Process time is what the work itself took.
"""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import sqlglot
from rich.console import Console
from rich.table import Table as Report

from qserv.catalog.snapshot import (
    ChunkStatistics,
    Family,
    IndexShard,
    Release,
    ReleaseState,
    Snapshot,
    TableVersion,
)
from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.plan.plan import Fragment, Plan, keyed
from qserv.plan.planner import plan
from qserv.plan.route import route
from qserv.sky.chunking import ChunkTree, chunk_id
from qserv.sky.healpix import children

ROUNDS, SETTLING = 40, 8
"""Plans of each query, of which the first are not counted."""
NARROW, WIDE = 100, 1296
"""Columns."""
FEW, MANY = 768, 100_000
"""Chunks, at least."""

_CONE = "1 = CONTAINS(POINT(ra, dec), CIRCLE({0}, 20, 0.1))"
_PAIRS = "SELECT a.objectId, b.objectId FROM Object a, Object b WHERE "
_NEAR = "DISTANCE(a.ra, a.dec, b.ra, b.dec) < "


@dataclass(frozen=True)
class Question:
    """A query with a number in it, another one in each round, and what it is asked of.

    `limit` is what was promised for process time, in milliseconds.
    """

    name: str
    text: str
    columns: int
    chunks: int
    limit: float


QUESTIONS = (
    Question("point", "SELECT * FROM Object WHERE objectId = {0}", NARROW, FEW, 5),
    Question("cone", f"SELECT * FROM Object WHERE {_CONE}", NARROW, FEW, 5),
    Question(
        "join and group",
        "SELECT o.objectId, COUNT(*), AVG(s.flux) FROM Object o JOIN Source s "
        "ON o.objectId = s.objectId WHERE o.col_3 > {0} GROUP BY o.objectId "
        "ORDER BY 2 DESC",
        NARROW,
        FEW,
        5,
    ),
    Question(
        "subqueries",
        "SELECT objectId FROM Object o WHERE col_3 > (SELECT AVG(col_3) FROM Object) "
        "AND EXISTS (SELECT 1 FROM Source s WHERE s.objectId = o.objectId "
        "AND s.flux > {0})",
        NARROW,
        FEW,
        5,
    ),
    Question("near neighbours", f"{_PAIRS}{_NEAR}0.00{{0}}", NARROW, FEW, 5),
    Question("the same in a halo", f"{_PAIRS}{_NEAR}1.{{0}}", NARROW, FEW, 5),
    Question(
        "join by hash",
        "SELECT COUNT(*) FROM Object o JOIN Source s ON o.col_5 = s.flux + {0}",
        NARROW,
        FEW,
        5,
    ),
    Question(
        "all columns",
        "SELECT * FROM Object WHERE col_3 > {0}",
        WIDE,
        FEW,
        30,
    ),
    Question(
        "all columns, in order",
        f"SELECT * FROM Object WHERE {_CONE} ORDER BY objectId",
        WIDE,
        FEW,
        30,
    ),
    Question(
        "all chunks",
        "SELECT objectId FROM Object WHERE col_3 > {0}",
        NARROW,
        MANY,
        50,
    ),
    Question(
        "a cone of many chunks",
        f"SELECT objectId FROM Object WHERE {_CONE}",
        NARROW,
        MANY,
        50,
    ),
    Question(
        "join of all chunks",
        "SELECT o.objectId, COUNT(*) FROM Object o JOIN Source s "
        "ON o.objectId = s.objectId WHERE s.flux > {0} GROUP BY o.objectId",
        NARROW,
        MANY,
        50,
    ),
)


def catalog(columns: int, chunks: int) -> Snapshot:
    """Make a release of a director table and a child over a tree of so many leaves."""
    tree = leaves(chunks)
    family = Family("sky", 60 / 3600, 10**6, 2**40, 1, tree, {})
    tables = {
        "object": (_object(columns), 1_000_000),
        "source": (_SOURCE, 5_000_000),
    }
    versions = {
        name: TableVersion(
            "sky",
            table,
            1,
            rows * len(tree.chunks),
            _statistics(tree, rows),
            0.0,
            (IndexShard(0, 0, 10**12, ("w",)),) if name == "object" else (),
        )
        for name, (table, rows) in tables.items()
    }
    release = Release("sky", ReleaseState.PUBLISHED, "sky", versions)
    return Snapshot(1, {"sky": release}, {"sky": family})


def leaves(least: int) -> ChunkTree:
    """Return a tree of so many leaves, or two more; its first leaves are split."""
    order = 0
    while 12 * 4 ** (order + 1) <= least:
        order += 1
    pixels = np.arange(12 * 4**order, dtype=np.int64)
    split = -(-(least - pixels.size) // 3)
    finer = chunk_id(order + 1, children(pixels[:split]))
    return ChunkTree(np.concatenate((finer, chunk_id(order, pixels[split:]))))


_SOURCE = Table(
    "Source",
    TableKind.CHILD,
    (
        Column("sourceId", DataType.BIGINT, nullable=False),
        Column("objectId", DataType.BIGINT, nullable=False),
        Column("flux", DataType.DOUBLE),
    ),
    key="objectId",
    director="Object",
)


def _object(columns: int) -> Table:
    own = (
        Column("objectId", DataType.BIGINT, nullable=False),
        Column("ra", DataType.DOUBLE),
        Column("dec", DataType.DOUBLE),
    )
    more = tuple(
        Column(f"col_{n}", DataType.REAL if n % 2 else DataType.BOOLEAN)
        for n in range(columns - len(own))
    )
    position = ("ra", "dec")
    kind = TableKind.DIRECTOR
    return Table("Object", kind, own + more, key="objectId", position=position)


def _statistics(tree: ChunkTree, rows: int) -> ChunkStatistics:
    count = len(tree.chunks)
    return ChunkStatistics(
        tree.chunks, np.full(count, rows), np.full(count, 100 * rows)
    )


def answered(text: str, snapshot: Snapshot) -> Plan:
    """Parse, plan and route a query; the homes of keys are made up."""
    made = plan(text, snapshot)
    home = np.array([0])
    for stage in made.stages:
        if isinstance(stage, Fragment):
            route(stage, snapshot, dict.fromkeys(keyed(stage.restrictors), home))
    return made


class Took(NamedTuple):
    """Milliseconds on the clock, and of this process."""

    wall: float
    process: float


def timed(work: Callable[[], object]) -> Took:
    """Do some work and tell how long it took."""
    wall, process = time.perf_counter(), time.process_time()
    work()
    ended = time.process_time(), time.perf_counter()
    return Took((ended[1] - wall) * 1000, (ended[0] - process) * 1000)


def race(question: Question, snapshot: Snapshot) -> tuple[Took, Took]:
    """Return the medians of ours and of sqlglot, asked in turn."""
    rounds = []
    for number in range(1, ROUNDS + 1):
        text = question.text.format(number)
        ours = timed(lambda q=text: answered(q, snapshot))
        rounds.append((ours, timed(lambda q=text: sqlglot.parse_one(q))))
    ours, theirs = zip(*rounds[SETTLING:], strict=True)
    return _median(ours), _median(theirs)


def _median(times: tuple[Took, ...]) -> Took:
    return Took(*(statistics.median(each) for each in zip(*times, strict=True)))


def main() -> None:
    """Plan all queries and print their table."""
    wanted = {(each.columns, each.chunks) for each in QUESTIONS}
    catalogs = {sizes: catalog(*sizes) for sizes in wanted}
    columns = ("columns", "chunks", "ms", "ms of process", "ratio", "promised")
    report = Report("parse, plan, route", *columns)
    for question in QUESTIONS:
        snapshot = catalogs[question.columns, question.chunks]
        ours, theirs = race(question, snapshot)
        report.add_row(
            question.name,
            f"{question.columns:,}",
            f"{len(snapshot.families['sky'].tree):,}",
            f"{ours.wall:.1f}",
            f"{ours.process:.1f}",
            f"{ours.process / theirs.process:.1f}",
            f"<= {question.limit:g} ms",
        )
    report.caption = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    Console().print(report)


if __name__ == "__main__":
    main()
