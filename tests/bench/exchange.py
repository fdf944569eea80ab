"""What rows cost that move between workers: ``make bench``.

A halo join is asked beside the same join of the same sky in a release whose stored
overlap is five times as wide, so that it holds what is joined. A join by hash of two
large tables is asked beside one plain DuckDB over the Parquet files that the workers
hold. Both sides are asked in turn: what counts is the ratio of the medians.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from pyarrow import parquet
from rich.console import Console
from rich.table import Table as Report

import qserv
from qserv.catalog.tables import Column, DataType, Table, TableKind

WORKERS, THREADS, CORES = 3, 1, 2
"""Of the cluster, and the threads of the DuckDB that it races with."""
DENSITY = 50_000
"""Objects per square degree of the sky of near neighbours."""
CLUMPED = 0.1
"""Share of its objects that are within some arcsec of another."""
LEAF_ROWS = 12_000
DIRECTORS = 100_000
"""Objects that own the rows which are joined by hash."""
BROADCAST = "16MiB"
"""So small that workers exchange those rows."""

_SKY = Table(
    "Object",
    TableKind.DIRECTOR,
    (
        Column("objectId", DataType.BIGINT),
        Column("ra", DataType.DOUBLE, "deg"),
        Column("dec", DataType.DOUBLE, "deg"),
        Column("mag", DataType.REAL),
    ),
    key="objectId",
    position=("ra", "dec"),
)
_PAIRS = (
    "SELECT COUNT(*) AS pairs, MAX(ABS(a.mag - b.mag)) AS most "
    "FROM {release}.Object a JOIN {release}.Object b "
    "ON DISTANCE(a.ra, a.dec, b.ra, b.dec) <= {radius} WHERE a.objectId < b.objectId"
)
_JOIN = (
    "SELECT COUNT(*) AS n, SUM(b.flux * r.flux) AS flux FROM {blue} b "
    "JOIN {red} r ON b.tag = r.tag"
)


@dataclass(frozen=True)
class Contest:
    """Two ways to the same rows, and what was promised of the ratio of their times."""

    name: str
    ours: Callable[[], pa.Table]
    theirs: Callable[[], pa.Table]
    promise: str


def child(name: str) -> Table:
    """Return a table whose rows have a home, and a tag that is no key."""
    kinds = {"rowId": "BIGINT", "objectId": "BIGINT", "tag": "BIGINT", "flux": "DOUBLE"}
    columns = tuple(Column(each, DataType(kind)) for each, kind in kinds.items())
    return Table(name, TableKind.CHILD, columns, key="objectId", director="Object")


def sky(number: int) -> pa.Table:
    """Return a square field, evenly filled but for some clumps."""
    random = np.random.default_rng(3)
    side = (number / DENSITY) ** 0.5
    x, y = random.uniform(-side / 2, side / 2, (2, number))
    clumped = random.choice(number, int(CLUMPED * number), replace=False)
    beside = random.choice(number, clumped.size)
    for offsets in (x, y):
        offsets[clumped] = offsets[beside] + random.normal(0, 5 / 3600, clumped.size)
    return _objects(150 + x / np.cos(np.radians(y)), y, random)


def _objects(ra, dec, random: np.random.Generator) -> pa.Table:
    magnitude = random.normal(22, 2, ra.size).astype(np.float32)
    columns = {"objectId": np.arange(ra.size), "ra": ra, "dec": dec, "mag": magnitude}
    return pa.table(columns)


def whole_sky(number: int) -> pa.Table:
    """Return objects everywhere."""
    random = np.random.default_rng(5)
    dec = np.degrees(np.arcsin(random.uniform(-1, 1, number)))
    return _objects(random.uniform(0, 360, number), dec, random)


def tagged(number: int, seed: int) -> pa.Table:
    """Return rows of which each has a tag of its own, in no order."""
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "rowId": np.arange(number),
            "objectId": random.integers(0, DIRECTORS, number),
            "tag": random.permutation(number),
            "flux": random.normal(size=number),
        }
    )


def colored(number: int) -> dict[str, pa.Table]:
    """Return the tables that are joined by hash, and the director of both."""
    rows = {"Blue": tagged(number, 7), "Red": tagged(number, 8)}
    return {"Object": whole_sky(DIRECTORS), **rows}


def load(
    db,
    place: Path,
    release: str,
    schema: tuple[Table, ...],
    made: Callable[[], dict[str, pa.Table]],
    **how,
) -> None:
    """Load a release that is not there yet."""
    if release in {each.name for each in db.status().releases}:
        return
    paths = {}
    for name, rows in made().items():
        paths[name] = place / f"{name}.parquet"
        parquet.write_table(rows, paths[name])
    db.load(release, paths, schema=schema, **how)


def neighbours(db, place: Path, number: int, arcsec: float) -> Contest:
    """Load one sky twice, with a narrow and with a wide overlap."""
    radius = arcsec / 3600
    queries = []
    for overlap in (radius / 5, radius):
        release = f"sky_{number}_{overlap * 3600:g}".replace(".", "_")
        how = {"overlap": overlap, "leaf_rows": LEAF_ROWS}
        load(db, place, release, (_SKY,), lambda: {"Object": sky(number)}, **how)
        queries.append(_PAIRS.format(release=release, radius=repr(radius)))
    narrow, wide = queries
    expect(db, narrow, "halo of")
    return Contest(
        f'pairs within {arcsec:g}", {number:,} rows: halo / overlap',
        lambda: db.query(narrow).to_arrow(),
        lambda: db.query(wide).to_arrow(),
        "<= 2x",
    )


def hashed(db, place: Path, number: int) -> Contest:
    """Load two tables that have nothing in common but a column."""
    release = f"hashed_{number}"
    tables = (_SKY, child("Blue"), child("Red"))
    how = {"leaf_rows": DIRECTORS // 50, "leaf_bytes": 2**40}
    load(db, place, release, tables, lambda: colored(number), **how)
    ours = _JOIN.format(blue=f"{release}.Blue", red=f"{release}.Red")
    expect(db, ours, "by hash of")
    plain = duckdb.connect(config={"threads": CORES})
    plain.execute("SET parquet_metadata_cache = true")
    blue, red = (held(db, release, name) for name in ("Blue", "Red"))
    theirs = _JOIN.format(blue=blue, red=red)
    return Contest(
        f"join by hash, 2 x {number:,} rows: qserv / DuckDB",
        lambda: db.query(ours).to_arrow(),
        lambda: plain.sql(theirs).to_arrow_table(),
        "<= 3x",
    )


def held(db, release: str, table: str) -> str:
    """Return what reads the files that workers hold of a table."""
    found = db.cluster.directory.glob(f"worker-*/data/{release}/{table}/**/*.parquet")
    return f"read_parquet({[str(each) for each in found]}, hive_partitioning=false)"


def expect(db, query: str, strategy: str) -> None:
    """Check that a query is planned as it shall be measured."""
    if strategy not in (told := db.explain(query)):
        raise SystemExit(f"not planned as {strategy!r}:\n{told}")


def timed(work: Callable[[], pa.Table]) -> tuple[float, list[dict]]:
    """Return the milliseconds of a call, and its rows."""
    start = time.perf_counter()
    rows = work()
    return (time.perf_counter() - start) * 1000, rows.to_pylist()


def race(contest: Contest, rounds: int) -> tuple[float, float, int]:
    """Ask both in turn, once to warm up; return medians and what was counted."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        answers = [timed(side) for side in (contest.ours, contest.theirs)]
        found = [next(iter(rows[0].values())) for _, rows in answers]
        if found[0] != found[1]:
            raise SystemExit(f"{contest.name}: {found[0]} is not {found[1]}")
        for taken, (milliseconds, _) in zip(times, answers, strict=True):
            taken.append(milliseconds)
    ours, theirs = (statistics.median(taken[1:]) for taken in times)
    return ours, theirs, found[0]


def main() -> None:
    """Run all contests and print their table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--radii", type=float, nargs="*", default=[10, 60])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dir", type=Path, help="keeps what is loaded")
    asked = parser.parse_args()
    os.environ["QSERV_BROADCAST_MEMORY"] = BROADCAST
    columns = ("query", "counted", "ms", "peer ms", "ratio", "promised")
    report = Report(*columns)
    with (
        tempfile.TemporaryDirectory() as scratch,
        qserv.LocalCluster(WORKERS, asked.dir, threads=THREADS) as db,
    ):
        place = Path(scratch)
        contests = [neighbours(db, place, asked.objects, each) for each in asked.radii]
        contests += [hashed(db, place, asked.rows)] if asked.rows else []
        for contest in contests:
            ours, theirs, count = race(contest, asked.rounds)
            row = (f"{ours:.0f}", f"{theirs:.0f}", f"{ours / theirs:.2f}")
            report.add_row(contest.name, f"{count:,}", *row, contest.promise)
    report.caption = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    Console().print(report)


if __name__ == "__main__":
    main()
