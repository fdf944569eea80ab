"""qserv beside one plain DuckDB on the same files: ``make bench``.

Each query is asked over the wire of a warm local cluster, and answered in turn by one
DuckDB in this process, from the Parquet files that the workers hold, with as many
threads as the workers have together; for the point and the cone it is told the right
file. Machines are noisy: what counts is the ratio of the medians of one run.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
from rich.console import Console
from rich.table import Table

import qserv
from qserv.catalog.tables import CHUNK
from qserv.pipelines import field, hipparcos

WORKERS, THREADS, ROUNDS = 3, 1, 60


@dataclass(frozen=True)
class Contest:
    """A query of ours, and the same for plain DuckDB over `{files}`."""

    name: str
    ours: str
    plain: str
    table: str
    where: str | None
    """What finds the chunk whose file plain DuckDB is told; None for all files."""
    promise: str


CONTESTS = (
    Contest(
        "point query",
        "SELECT objectId, ra, dec, Hpmag FROM hip.Object WHERE objectId = 91262",
        "SELECT objectId, ra, dec, Hpmag FROM {files} WHERE objectId = 91262",
        "hip/Object",
        "objectId = 91262",
        "<= 4x",
    ),
    Contest(
        "cone of 1 arcmin",
        "SELECT objectId, ra, dec, rMag FROM deep.Object WHERE "
        "CONTAINS(POINT(ra, dec), CIRCLE(150.1, 2.2, 0.016666667)) = 1",
        "SELECT objectId, ra, dec, rMag FROM {files} WHERE degrees(2 * asin(sqrt("
        "sin(radians(dec - 2.2) / 2) ** 2 + cos(radians(2.2)) * cos(radians(dec)) * "
        "sin(radians(ra - 150.1) / 2) ** 2))) <= 0.016666667",
        "deep/Object",
        "abs(ra - 150.1) < 0.0167 AND abs(dec - 2.2) < 0.0167",
        "<= 4x",
    ),
    Contest(
        "full scan, 3.2 M rows",
        "SELECT filterId, COUNT(*) AS n, AVG(psfFlux) AS f, STDDEV(psfFlux) AS s "
        "FROM hip.ForcedSource GROUP BY filterId",
        "SELECT filterId, count(*), avg(psfFlux), stddev(psfFlux) "
        "FROM {files} GROUP BY filterId",
        "hip/ForcedSource",
        None,
        "<= 1x + 30 ms",
    ),
)


def files_of(directory: Path, contest: Contest, plain) -> str:
    """Return the files of a contest as a FROM clause of DuckDB."""
    found = [
        str(f) for f in directory.glob(f"worker-*/data/{contest.table}/**/*.parquet")
    ]
    if contest.where is not None:
        told = plain.sql(
            f"SELECT DISTINCT filename FROM read_parquet({found}, filename=true) "
            f"WHERE {contest.where} AND {CHUNK} IS NOT NULL"
        )
        found = [name for (name,) in told.fetchall()]
    return f"read_parquet({found}, hive_partitioning=false)"


def timed(work) -> float:
    """Return the milliseconds that a call takes."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def race(
    db, plain, contest: Contest, directory: Path
) -> tuple[list[float], list[float]]:
    """Ask both in turn, warm; return the milliseconds of each."""
    sql = contest.plain.format(files=files_of(directory, contest, plain))

    def ours():
        return db.query(contest.ours).to_arrow()

    def theirs():
        return plain.sql(sql).to_arrow_table()

    assert ours().num_rows == theirs().num_rows > 0
    rounds = [(timed(ours), timed(theirs)) for _ in range(ROUNDS)]
    warm = rounds[ROUNDS // 6 :]
    return [a for a, _ in warm], [b for _, b in warm]


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
