"""What costs too much is refused before it runs; what takes too long is stopped."""

from contextlib import ExitStack

import pytest

import qserv
from qserv.errors import LimitExceeded

ENDLESS = "SELECT SUM(a.ra * b.ra + c.ra) AS s FROM Source a, Source b, Source c"


@pytest.fixture(scope="module")
def strict(sky, tmp_path_factory):
    """Start a cluster that stops queries after two seconds, and load the sky."""
    made = qserv.LocalCluster(1, tmp_path_factory.mktemp("strict"))
    with ExitStack() as stack:
        # No longer than it starts: the cluster that is not strict may start later.
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("QSERV_QUERY_TIMEOUT", "2")
            environment.setenv("QSERV_MAX_RESULT_BYTES", "20kB")
            environment.setenv("QSERV_MAX_ESTIMATED_ROWS", "1e11")
            db = stack.enter_context(made)
        sky.load(db)
        yield db


def test_a_cartesian_product_is_refused_before_it_runs(cluster):
    with pytest.raises(LimitExceeded) as refused:
        cluster.query(ENDLESS)
    assert "to 4.8e+10 rows, more than the 1.0e+10 that" in refused.value.text
    assert "max_estimated_rows allows; join them by a key" in refused.value.text
    assert "cost       about" in cluster.explain(ENDLESS), "it may be explained"
    small = cluster.query("SELECT COUNT(*) AS n FROM Object a, Filter f").to_arrow()
    objects = cluster.query("SELECT COUNT(*) AS n FROM Object").to_arrow()
    assert small["n"][0].as_py() == 6 * objects["n"][0].as_py()


def test_a_query_that_takes_too_long_is_stopped(strict):
    with pytest.raises(LimitExceeded, match="more than the 2 s that query_timeout"):
        strict.query(ENDLESS).to_arrow()
    assert strict.status().queries == ()
    assert strict.query("SELECT COUNT(*) AS n FROM Filter").to_arrow()["n"][0].as_py()


def test_a_result_with_too_many_bytes_ends_with_an_error(strict):
    with pytest.raises(LimitExceeded, match="max_result_bytes"):
        strict.query("SELECT * FROM Source").to_arrow()
    few = strict.query("SELECT TOP 10 ra FROM Source").to_arrow()
    assert few.num_rows == 10
