"""``qserv table``: lists for people and programs, asks before it drops."""

import json
from functools import partial

import pytest
from support import metadata
from support.fake_czar import FakeCzar, serving

from qserv.errors import Conflict
from qserv.wire.messages import table_to_proto
from qserv.wire.v1 import czar_pb2 as pb


class Tables(FakeCzar):
    """Knows two tables."""

    async def ListTables(self, request, context):
        self.requests.append(request)
        known = [table_to_proto(t) for t in (metadata.OBJECT, metadata.SOURCE)]
        return pb.ListTablesReply(release="dr1", snapshot=8, tables=known)

    async def DropTable(self, request, context):
        self.requests.append(request)
        if self.error:
            raise self.error
        return pb.DropTableReply(snapshot=9, names=["Object", "Source"])


@pytest.fixture
def czar():
    czar = Tables()
    with serving(czar) as czar.endpoint:
        yield czar


@pytest.fixture
def qserv(qserv):
    return partial(qserv, "table")


def test_the_tables_of_a_release_are_listed(qserv, czar):
    done = qserv("list", "dr1", "--snapshot", "8")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["dr1.Object", "director", "3", "Stars."] in lines
    assert ["dr1.Source", "child", "3", "Object"] in lines
    assert czar.requests[-1] == pb.ListTablesRequest(release="dr1", snapshot=8)
    found = json.loads(qserv("list", "dr1", "--json").stdout)
    assert [(each["name"], each["directors"]) for each in found] == [
        ("Object", []),
        ("Source", ["Object"]),
    ]


def test_nothing_is_dropped_unasked(qserv, czar):
    assert qserv("drop", "dr1.Object", input="n\n").exit_code == 1
    assert czar.requests == []
    done = qserv("drop", "dr1.Object", "--with-children", input="y\n")
    assert done.stdout == "gone from snapshot 9 on: dr1.Object, dr1.Source\n"
    assert czar.requests == [
        pb.DropTableRequest(release="dr1", name="Object", with_children=True)
    ]


def test_a_refusal_is_one_line(qserv, czar):
    czar.error = Conflict("dr1.Object is the director of dr1.Source: drop them first")
    done = qserv("drop", "dr1.Object", "--yes")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "director of dr1.Source" in done.stderr


def test_a_name_without_release_is_refused(qserv, czar):
    done = qserv("drop", "Object", "--yes")
    assert (done.exit_code, czar.requests) == (2, [])
    assert "is not RELEASE.TABLE, as in dr1.Source" in done.stderr
