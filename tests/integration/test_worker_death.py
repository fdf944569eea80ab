"""A worker dies in the middle of a batch: an error in time, and nothing wrong."""

import pytest
from support.processes import until

import qserv
from qserv.errors import ClusterError, QservError

QUERY = "SELECT objectId, ra, dec FROM sky.Object"
GROUPED = "SELECT class, COUNT(*) AS n FROM sky.Object GROUP BY class"
VICTIM = "worker-2"


@pytest.fixture
def dying(sky, tmp_path, request):
    """Start a cluster whose second worker dies after a batch's first frame."""
    arguments = {VICTIM: ["--failpoint", "worker.task.data-sent"]}
    with qserv.LocalCluster(3, tmp_path, worker_arguments=arguments) as db:
        sky.load(db, replicas=getattr(request, "param", 1))
        arguments.clear()  # it starts again without
        yield db


def rows_until_error(result):
    """Read batch by batch; return the rows that came and the error that ended it."""
    rows = []
    try:
        for batch in result:
            rows += [tuple(row.values()) for row in batch.to_pylist()]
    except QservError as error:
        return rows, error
    pytest.fail("the answer was whole")


@pytest.mark.parametrize("batch_chunks", [0, 1])
def test_rows_that_came_before_the_error_are_right(dying, sky, batch_chunks):
    result = dying.query(QUERY, batch_chunks=batch_chunks, timeout=5)
    rows, error = rows_until_error(result)
    assert isinstance(error, ClusterError), error
    assert not result.complete
    assert len(rows) == len(set(rows))
    assert set(rows) < set(sky.answer(QUERY))


def test_a_merged_answer_is_none_at_all(dying):
    with pytest.raises(ClusterError):
        dying.query(GROUPED, timeout=5).to_arrow()


def test_the_worker_starts_again_and_the_cluster_answers_again(dying, sky):
    before = dying.cluster.processes[VICTIM]
    with pytest.raises(ClusterError):
        dying.query(QUERY, timeout=5).to_arrow()
    until(lambda: dying.cluster.processes.get(VICTIM, before) != before)
    dying.cluster.wait_whole()
    rows = dying.query(QUERY).to_pandas().itertuples(index=False, name=None)
    assert sorted(rows) == sorted(sky.answer(QUERY))


@pytest.mark.parametrize("dying", [2], indirect=True)
@pytest.mark.parametrize("query", [QUERY, GROUPED])
def test_with_a_second_copy_the_query_outlives_the_worker(dying, sky, query):
    before = dying.cluster.processes[VICTIM]
    rows = dying.query(query, batch_chunks=1).to_arrow().to_pylist()
    found = [tuple(row.values()) for row in rows]
    assert sorted(found, key=repr) == sorted(sky.answer(query), key=repr)
    until(lambda: dying.cluster.processes.get(VICTIM, before) != before)
