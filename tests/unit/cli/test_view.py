"""``qserv view``: from any source of text, to people and to programs."""

import json
from functools import partial

import pytest
from click.testing import CliRunner
from support.fake_czar import FakeCzar, serving

from qserv.catalog.tables import Column, DataType
from qserv.cli.main import main
from qserv.errors import Conflict
from qserv.wire.messages import columns_to_proto
from qserv.wire.v1 import czar_pb2 as pb

TEXT = "SELECT objectId, [x]\nFROM Object"
COLUMNS = columns_to_proto(
    [Column("objectId", DataType.BIGINT), Column("mag", DataType.REAL, "mag")]
)


class Views(FakeCzar):
    """Knows one view that can be read and one that cannot."""

    async def CreateView(self, request, context):
        self.requests.append(request)
        if self.error:
            raise self.error
        made = {"release": request.release, "name": request.name, "since": 8}
        view = pb.ViewDescription(**made, text=request.text, columns=COLUMNS)
        return pb.CreateViewReply(view=view)

    async def DropView(self, request, context):
        self.requests.append(request)
        return pb.DropViewReply(snapshot=9)

    async def ListViews(self, request, context):
        self.requests.append(request)
        known = {"release": "dr1", "text": TEXT, "since": 8}
        good = pb.ViewDescription(
            **known, name="Bright", description="The [red].", columns=COLUMNS
        )
        bad = pb.ViewDescription(**known, name="Old", trouble="no column [y]")
        return pb.ListViewsReply(views=[good, bad])


@pytest.fixture
def czar():
    czar = Views()
    with serving(czar) as czar.endpoint:
        yield czar


@pytest.fixture
def qserv(qserv):
    return partial(qserv, "view")


def asked(**values):
    return pb.CreateViewRequest(release="dr1", name="Bright", text=TEXT, **values)


def test_a_query_comes_from_an_argument_a_file_or_standard_input(qserv, czar, tmp_path):
    done = qserv("create", "dr1.Bright", TEXT)
    assert done.output == "dr1.Bright has the columns objectId, mag; snapshot 8\n"
    file = tmp_path / "bright.sql"
    file.write_text(TEXT)
    assert qserv("create", "dr1.Bright", "--file", str(file)).exit_code == 0
    told = ("--replace", "--description", "The bright.")
    assert qserv("create", "dr1.Bright", "-", *told, input=TEXT).exit_code == 0
    replaced = asked(replace=True, description="The bright.")
    assert czar.requests == [asked(), asked(), replaced]


@pytest.mark.parametrize("arguments", [(), ("SELECT 1", "--file")])
def test_a_query_comes_from_one_place(qserv, czar, tmp_path, arguments):
    file = tmp_path / "bright.sql"
    file.write_bytes(b"\xff")
    files = (str(file),) if "--file" in arguments else ()
    done = qserv("create", "dr1.Bright", *arguments, *files)
    assert (done.exit_code, done.stderr[:11]) == (2, "error Q3009")
    assert "one of them" in done.stderr
    done = qserv("create", "dr1.Bright", "--file", str(file))
    assert (done.exit_code, "as text" in done.stderr) == (2, True)
    assert czar.requests == []


@pytest.mark.parametrize("name", ["Bright", "dr1.", ".Bright", "a.b.c"])
def test_a_view_has_two_names(qserv, czar, name):
    for arguments in (("create", name, TEXT), ("drop", name)):
        done = qserv(*arguments)
        assert f"'{name}' is not RELEASE.VIEW, as in dr1.Bright" in done.stderr
        assert done.exit_code == 2
    assert czar.requests == []


def test_a_refusal_is_one_line(qserv, czar):
    czar.error = Conflict("dr1.Bright is a table: give the view another name")
    done = qserv("create", "dr1.Bright", TEXT)
    assert done.stderr == f"error Q3008: {czar.error.text}\n"
    assert (done.exit_code, done.stdout) == (2, "")


def test_views_are_listed(qserv, czar):
    lines = [line.split() for line in qserv("list").stdout.splitlines()]
    assert ["dr1.Bright", "2", "8", "The", "[red]."] in lines
    assert [
        "dr1.Old",
        "0",
        "8",
        "cannot",
        "be",
        "read:",
        "no",
        "column",
        "[y]",
    ] in lines
    found = json.loads(qserv("list", "dr1", "--json", "--snapshot", "0").stdout)
    assert [view["name"] for view in found] == ["Bright", "Old"]
    assert found[0]["columns"][1]["unit"] == "mag"
    assert found[0]["text"] == TEXT
    newest = pb.ListViewsRequest()
    assert czar.requests == [newest, pb.ListViewsRequest(release="dr1", snapshot=0)]


def test_a_view_is_shown_as_it_was_written(qserv):
    shown = qserv("show", "DR1.bright").stdout
    assert shown.startswith(f"dr1.Bright, since snapshot 8\nThe [red].\n\n{TEXT}\n\n")
    assert ["mag", "REAL", "mag"] in [line.split() for line in shown.splitlines()]
    assert qserv("show", "dr1.Bright", "--text").stdout == TEXT + "\n"
    assert "cannot be read: no column [y]" in qserv("show", "dr1.Old").stdout
    done = qserv("show", "dr1.None")
    assert "no view dr1.None; its release has: dr1.Bright, dr1.Old" in done.stderr
    assert done.exit_code == 2


def test_a_view_is_dropped(qserv, czar):
    done = qserv("drop", "dr1.Bright")
    assert done.stdout == "dr1.Bright is gone from snapshot 9 on\n"
    assert czar.requests == [pb.DropViewRequest(release="dr1", name="Bright")]


def test_status_names_views(czar):
    czar.status.releases.add(name="dr1", state="published", views=["Bright"])
    done = CliRunner().invoke(main, ["status", "--czar", czar.endpoint])
    assert ["dr1.Bright", "view", "published"] in [
        line.split() for line in done.stdout.splitlines()
    ]
