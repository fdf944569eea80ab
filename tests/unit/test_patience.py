"""How long qserv waits, and what it tells meanwhile."""

from dataclasses import dataclass

import pytest

from qserv import patience
from qserv.errors import Conflict, CzarUnavailable, WorkerUnavailable


@dataclass(frozen=True)
class Reply:
    wait: float
    lease: float = 30.0


def answering(*answers):
    """Give one answer after the other; errors are raised."""
    left = iter(answers)

    def ask():
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


@pytest.fixture
def happened():
    return []


def for_commit(happened):
    def waits(error):
        happened.append(error.text)

    return patience.for_commit(waits, happened.append).copy(sleep=happened.append)


def for_lease(happened):
    def waits(reply):
        happened.append(reply)

    return patience.for_lease(waits).copy(sleep=happened.append)


def test_a_commit_is_tried_again_and_each_pause_is_told_before_and_after(happened):
    away, full = WorkerUnavailable("w1 is away"), WorkerUnavailable("w2 is full")
    done = for_commit(happened)(answering(away, full, "done"))
    assert done == "done"
    assert happened == ["w1 is away", 1.0, 1.0, "w2 is full", 2.0, 3.0]


@pytest.mark.parametrize("error", [Conflict("never"), CzarUnavailable("no czar")])
def test_what_no_worker_can_mend_ends_a_commit(happened, error):
    with pytest.raises(type(error)):
        for_commit(happened)(answering(error))
    assert happened == []


def test_a_lease_that_ends_is_waited_for(happened):
    left, short, begun = Reply(20.0), Reply(0.5), Reply(0.0)
    assert for_lease(happened)(answering(left, short, begun)) is begun
    assert happened == [left, 20.0, short, 0.5]


def test_a_loader_that_lives_is_not_waited_for_for_ever(happened):
    alive = Reply(30.0)
    assert for_lease(happened)(answering(alive, alive, alive, alive)) is alive
    assert happened == [alive, 30.0] * 3
