"""``qserv loads``: what is under way and what was, to people and to programs."""

import json

import pytest
from support.fake_czar import FakeCzar, serving

from qserv.errors import Conflict, UnknownName
from qserv.wire.v1 import czar_pb2 as pb

OPEN = pb.LoadDescription(
    id="t2",
    release="dr1",
    state="contributing",
    who="ann",
    phase="sending",
    table="Object",
    done=250_000,
    total=1_000_000,
    rate=50_000,
    left=15,
    rows=1_000_000,
    attempt=2,
    silence=12,
    expires=5400,
)
DONE = pb.LoadDescription(
    id="t1",
    release="dr1",
    tables=["Object"],
    state="committed",
    who="bob",
    pipeline="drp 4 [x]",
    input_ids=["run 1", "run 2"],
    snapshot=7,
    rows=20,
    rejected=3,
    replaced=["Object"],
    again=4_000,
    left=-1,
)
FILE = pb.Contribution(
    number=5,
    table="Object",
    source="o[1].csv",
    sha256=b"\xab" * 32,
    rows=20,
    rejected=3,
)


class Loads(FakeCzar):
    """Knows a load under way and one that was committed."""

    async def ListLoads(self, request, context):
        self.requests.append(request)
        if request.load == "none":
            raise UnknownName("there is no load none")
        if request.load:
            yield pb.ListLoadsReply(loads=[DONE])
            yield pb.ListLoadsReply(contributions=[FILE])
        else:
            yield pb.ListLoadsReply(loads=[OPEN])
            yield pb.ListLoadsReply(loads=[DONE])

    async def Abort(self, request, context):
        self.requests.append(request)
        if self.error:
            raise self.error
        return pb.AbortReply()


@pytest.fixture
def czar():
    czar = Loads()
    with serving(czar) as czar.endpoint:
        yield czar


def test_loads_are_listed_with_how_far_they_are(qserv, czar):
    found = qserv("loads", "list", "--release", "dr1", "--all")
    assert found.exit_code == 0, found.output
    (request,) = czar.requests
    assert (request.release, request.all) == ("dr1", True)
    under_way, done = [line for line in found.output.splitlines() if line[:1] == "t"]
    for part in (
        *("t2", "contributing", "ann", "15 s"),
        "sending Object 250,000 of 1,000,000 at 50,000 rows/s",
    ):
        assert part in under_way
    assert "snapshot 7, 4,000 rows read again, replaced Object" in done
    assert "silent for 12 s, given up in 1.5 h" in found.output


def test_programs_get_all_of_it(qserv):
    under_way, done = json.loads(qserv("loads", "list", "--json").output)
    assert (under_way["left"], under_way["snapshot"]) == (15, None)
    assert (done["left"], done["snapshot"], done["again"]) == (None, 7, 4_000)
    shown = json.loads(qserv("loads", "show", "t1", "--json").output)
    assert shown["load"] == done
    assert shown["inputs"][0]["sha256"] == "ab" * 32


def test_a_load_is_shown_with_its_files(qserv, czar):
    found = qserv("loads", "show", "t1").output
    for part in ("drp 4 [x]", "run 1, run 2", "20, 3 rejected", "o[1].csv", "abab"):
        assert part in found
    assert found.count("Object") == 3, "as table, as replaced, and of its file"
    assert czar.requests[0].load == "t1"
    assert "there is no load none" in qserv("loads", "show", "none").output


def test_a_reason_of_several_lines_is_whole_where_one_load_is_shown(qserv):
    DONE.state, DONE.reason = "aborted", "a bad row\n  and another"
    try:
        listed, shown = (
            qserv("loads", "list").output,
            qserv("loads", "show", "t1").output,
        )
    finally:
        DONE.state, DONE.reason = "committed", ""
    assert "a bad row …" in listed
    assert "and another" not in listed
    assert "how far       a bad row\n                and another\n" in shown


def test_a_load_is_ended(qserv, czar):
    assert qserv("loads", "abort", "t2").output == "t2 is aborted\n"
    (request,) = czar.requests
    assert (request.transaction, request.attempt) == ("t2", 0)
    czar.error = Conflict("load t2 is being published")
    found = qserv("loads", "abort", "t2")
    assert (found.exit_code, "being published" in found.output) == (2, True)


def test_status_shows_loads_under_way(qserv, czar):
    czar.status.loads.append(OPEN)
    assert "sending Object 250,000 of 1,000,000" in qserv("status").output
    (load,) = json.loads(qserv("status", "--json").output)["loads"]
    assert load["id"] == "t2"
