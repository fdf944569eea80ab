"""A sky on real processes, for the tests that leave it as it was."""

import signal
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from support.survey import Survey, survey

import qserv

# What a shell starts in the background ignores Ctrl-C, and hands that on to programs.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Sky:
    """A survey as files, and one plain DuckDB that holds all of it."""

    survey: Survey
    files: dict[str, Path]
    plain: duckdb.DuckDBPyConnection

    def answer(self, query: str) -> list[tuple]:
        """Return the rows that plain DuckDB answers."""
        return self.plain.execute(query).fetchall()

    def load(self, db, release="sky", **options):
        """Load it all into a cluster."""
        tables = tuple(self.survey.tables.values())
        options = {"leaf_rows": 100, **options}
        return db.load(release, self.files, schema=tables, **options)


@pytest.fixture(scope="session")
def sky(tmp_path_factory):
    """Make the survey, its files and its plain DuckDB."""
    made = survey(seed=11)
    place = tmp_path_factory.mktemp("sky")
    plain = duckdb.connect()
    plain.execute("CREATE SCHEMA sky")
    files = {}
    for name, rows in made.rows.items():
        files[name] = place / f"{name}.parquet"
        pq.write_table(rows, files[name])
        plain.register("arriving", rows)
        plain.execute(f'CREATE TABLE sky."{name}" AS SELECT * FROM arriving')
        plain.unregister("arriving")
    yield Sky(made, files, plain)
    plain.close()


@pytest.fixture(scope="session")
def cluster(sky, tmp_path_factory):
    """Start three workers and load the sky; tests only read it."""
    with qserv.LocalCluster(3, tmp_path_factory.mktemp("cluster")) as db:
        sky.load(db)
        yield db
