"""qserv beside one plain DuckDB on the same files: ``make bench``.

Each query is asked over the wire of a warm local cluster, and answered in turn by one
DuckDB in this process, from the Parquet files that the workers hold, with as many
threads as the workers have together; for points and cones it is told the right file.
Machines are noisy: what counts is the ratio of the medians of one run.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
from rich.console import Console
from rich.table import Table

import qserv
from qserv.pipelines import field, hipparcos

WORKERS, THREADS = 3, 1
ROUNDS, SETTLING = 96, 8
"""Questions to each side, in turn, of which the first are not counted."""

_POINT = "SELECT objectId, ra, dec, Hpmag FROM {table} WHERE objectId = {{0}}"
_CONE = (
    "SELECT objectId, ra, dec, rMag FROM deep.Object WHERE "
    "CONTAINS(POINT(ra, dec), CIRCLE({0}, {1}, 0.016666667)) = 1"
)
_PLAIN_CONE = (
    "SELECT objectId, ra, dec, rMag FROM {files} WHERE degrees(2 * asin(sqrt("
    "sin(radians(dec - {1}) / 2) ** 2 + cos(radians({1})) * cos(radians(dec)) * "
    "sin(radians(ra - {0}) / 2) ** 2))) <= 0.016666667"
)


@dataclass(frozen=True)
class Contest:
    """A query of ours, and the same for plain DuckDB over `{files}`.

    `picks` gives the rows that fill in both queries, a new one each time, each with the
    file that holds its answer, which plain DuckDB is told; None asks all files.
    """

    name: str
    ours: str
    plain: str
    table: str
    picks: str | None
    promise: str


CONTESTS = (
    Contest(
        "point query",
        _POINT.format(table="hip.Object"),
        _POINT.format(table="{files}"),
        "hip/Object/",
        "SELECT filename, 91262 FROM {files} WHERE objectId = 91262",
        "<= 4x",
    ),
    Contest(
        "point query, another star each time",
        _POINT.format(table="hip.Object"),
        _POINT.format(table="{files}"),
        "hip/Object/",
        "SELECT filename, objectId FROM {files} ORDER BY hash(objectId) LIMIT 96",
        "",
    ),
    Contest(
        "cone of 1 arcmin",
        _CONE,
        _PLAIN_CONE,
        "deep/Object/",
        "SELECT filename, 150.1, 2.2 FROM {files} WHERE abs(ra - 150.1) < 0.0167 "
        "AND abs(dec - 2.2) < 0.0167 LIMIT 1",
        "<= 4x",
    ),
    Contest(
        "cone, another field each time",
        _CONE,
        _PLAIN_CONE,
        "deep/Object/",
        "SELECT filename, ra, dec FROM {files} ORDER BY hash(objectId) LIMIT 96",
        "",
    ),
    Contest(
        "full scan, 3.2 M rows",
        "SELECT filterId, COUNT(*) AS n, AVG(psfFlux) AS f, STDDEV(psfFlux) AS s "
        "FROM hip.ForcedSource GROUP BY filterId",
        "SELECT filterId, count(*), avg(psfFlux), stddev(psfFlux) "
        "FROM {files} GROUP BY filterId",
        "hip/ForcedSource/",
        None,
        "<= 1x + 30 ms",
    ),
)


def queries(directory: Path, contest: Contest, plain) -> Iterator[tuple[str, str]]:
    """Yield our query and plain DuckDB's, for ever."""
    found = [
        str(f) for f in directory.glob(f"worker-*/data/{contest.table}**/*.parquet")
    ]
    everything = f"read_parquet({found}, hive_partitioning=false)"
    if contest.picks is None:
        while True:
            yield contest.ours, contest.plain.format(files=everything)
    named = everything.replace(")", ", filename=true)")
    rows = plain.sql(contest.picks.format(files=named)).fetchall()
    for file, *values in itertools.cycle(rows):
        told = f"read_parquet(['{file}'], hive_partitioning=false)"
        yield contest.ours.format(*values), contest.plain.format(*values, files=told)


def timed(work) -> float:
    """Return the milliseconds that a call takes."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def race(
    db, plain, contest: Contest, directory: Path
) -> tuple[list[float], list[float]]:
    """Ask both in turn, warm; return the milliseconds of each."""
    rounds = [
        (
            timed(lambda q=ours: db.query(q).to_arrow()),
            timed(lambda q=theirs: plain.sql(q).to_arrow_table()),
        )
        for ours, theirs in itertools.islice(queries(directory, contest, plain), ROUNDS)
    ]
    return tuple(list(side) for side in zip(*rounds[SETTLING:], strict=True))


def load(db, scratch: Path) -> None:
    """Load what is not there yet."""
    there = {r.name for r in db.status().releases}
    if "hip" not in there:
        hipparcos.load(db, hipparcos.produce(scratch / "hip"), leaf_rows=4000)
    if "deep" not in there:
        field.load(db, field.produce(scratch / "deep"), leaf_rows=3000)


def main() -> None:
    """Run all contests and print their table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path("qserv-data"))
    directory = parser.parse_args().dir
    plain = duckdb.connect(config={"threads": WORKERS * THREADS})
    plain.execute("SET parquet_metadata_cache = true")
    report = Table("query", "qserv ms", "DuckDB ms", "ratio", "more ms", "promised")
    with (
        tempfile.TemporaryDirectory() as scratch,
        qserv.LocalCluster(WORKERS, directory, threads=THREADS) as db,
    ):
        load(db, Path(scratch))
        for contest in CONTESTS:
            ours, theirs = race(db, plain, contest, directory)
            a, b = statistics.median(ours), statistics.median(theirs)
            row = (f"{a:.1f}", f"{b:.1f}", f"{a / b:.2f}", f"{a - b:.1f}")
            report.add_row(contest.name, *row, contest.promise)
    Console().print(report)


if __name__ == "__main__":
    main()
