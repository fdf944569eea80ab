"""``qserv placement``: what it shows, and what it asks the czar to do."""

import json

import pytest
from support.fake_czar import FakeCzar, serving

from qserv.client.placement import Replication
from qserv.wire.v1 import czar_pb2 as pb


class Czar(FakeCzar):
    """Shows one placement, and remembers what was asked for."""

    def __init__(self):
        super().__init__()
        self.changes = []
        self.shown = pb.ShowPlacementReply(
            workers=[
                pb.WorkerStatus(
                    worker_id="w-a",
                    endpoint="h:1",
                    alive=True,
                    chunks=30,
                    state="active",
                    size=2_000_000,
                    disk_free=7_000_000_000,
                ),
                pb.WorkerStatus(
                    worker_id="w-b",
                    endpoint="h:2",
                    alive=True,
                    chunks=10,
                    state="draining",
                    disk_free=-1,
                ),
                pb.WorkerStatus(worker_id="w-c", state="lost", disk_free=-1),
                pb.WorkerStatus(
                    worker_id="w-d",
                    endpoint="h:4",
                    seconds_since_seen=9,
                    state="draining",
                ),
            ],
            families=[
                pb.FamilyPlacement(
                    name="dr1", chunks=40, replicas=2, under_replicated=5, unavailable=1
                )
            ],
            replication=pb.Replication(
                files=100,
                missing=12,
                missing_size=3_000_000,
                under_replicated=5,
                surplus=4,
                rate=1e6,
                seconds_left=2,
                copies=[
                    pb.CopyUnderWay(
                        worker_id="w-a",
                        family="dr1",
                        files=3,
                        size=4_000_000,
                        size_done=1_000_000,
                        seconds=1,
                    )
                ],
                troubles=["w-d: it does not answer"],
            ),
        )

    async def ShowPlacement(self, request, context):
        self.requests.append(request.family)
        return self.shown

    async def ChangePlacement(self, request, context):
        self.changes.append(request)
        return pb.ChangePlacementReply(text="so be it")


@pytest.fixture
def czar():
    czar = Czar()
    with serving(czar) as czar.endpoint:
        yield czar


def test_what_is_shown_to_people(qserv, czar):
    done = qserv("placement", "show", "dr1")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert czar.requests == ["dr1"]
    for line in (
        "w-a h:1 alive 30 75.0% 2.0 7,000",
        "w-b h:2 draining 10 25.0% 0.0",
        "w-c lost 0 0.0% 0.0",
        "w-d h:4 drained, silent for 9 s 0 0.0% 0.0 0",
        "dr1 40 2 5 1",
        "w-a dr1 3 4.0 25% 1",
        "5 chunks have fewer live copies than are wanted",
        "12 copies of files are missing (3.0 MB), being made at 1.0 MB/s, 2 s left",
        "4 copies of files are yet to be dropped",
        "put off: w-d: it does not answer",
    ):
        assert line in lines


def test_what_is_shown_to_programs(qserv):
    shown = json.loads(qserv("placement", "show", "--json").stdout)
    assert shown["families"][0]["under"] == 5
    assert shown["replication"]["left"] == 2


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (["drain", "w-a"], pb.ChangePlacementRequest(drain="w-a")),
        (["readmit", "w-a"], pb.ChangePlacementRequest(readmit="w-a")),
        (
            ["lost", "w-a", "--force"],
            pb.ChangePlacementRequest(lost=pb.LostWorker(worker_id="w-a", force=True)),
        ),
        (
            ["replicas", "dr1", "3"],
            pb.ChangePlacementRequest(
                replicas=pb.FamilyReplicas(family="dr1", replicas=3)
            ),
        ),
    ],
)
def test_what_is_asked_for(qserv, czar, arguments, request_):
    done = qserv("placement", *arguments)
    assert (done.exit_code, done.stdout) == (0, "so be it\n")
    assert czar.changes == [request_]


def test_nothing_to_do_is_settled():
    assert Replication().settled
    assert not Replication(surplus=1).settled
