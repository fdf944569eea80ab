"""``qserv schema``: drafts for files, and what live tables are."""

import subprocess
import sys

import pytest
from click.testing import CliRunner
from support.fake_czar import FakeCzar, serving
from support.loads import FORCED, OBJECT

import qserv
from qserv.catalog.felis import read_schema
from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.cli.main import main
from qserv.errors import UnknownName
from qserv.wire.messages import table_to_proto
from qserv.wire.v1 import czar_pb2 as pb

MATCH = Table(
    "Match",
    TableKind.REF_MATCH,
    (
        Column("a", DataType.BIGINT, nullable=False),
        Column("b", DataType.BIGINT, "[deg]", "meta.id", "Which [one]."),
        Column("t", DataType.VARCHAR, length=7),
    ),
    key="a",
    director="Object",
    second_key="b",
    second_director="Object",
    description="Pairs.",
)
TABLES = (OBJECT, FORCED, MATCH)


class Tables(FakeCzar):
    """Has one release."""

    async def ListTables(self, request, context):
        self.requests.append(request)
        reply = pb.ListTablesReply(release=request.release, snapshot=7)
        if request.release.lower() == "dr1":
            reply.release, reply.overlap = "dr1", 1 / 60
            reply.tables.extend(map(table_to_proto, TABLES))
        return reply


@pytest.fixture
def czar():
    czar = Tables()
    with serving(czar) as czar.endpoint:
        yield czar


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, czar=None):
        environment = {"QSERV_CZAR": czar.endpoint} if czar else {}
        return CliRunner().invoke(main, ["schema", *arguments], env=environment)

    return run


def test_a_client_asks_what_tables_are(czar):
    with qserv.connect(czar.endpoint) as db:
        found = db.tables("DR1", snapshot=3)
        assert (found.release, found.snapshot, found.tables) == ("dr1", 7, TABLES)
        assert found.table("match") == MATCH
        with pytest.raises(UnknownName, match=r"no table dr1.Star; there is Object, F"):
            found.table("Star")
        assert db.tables("dr2").tables == ()
    assert [r.snapshot for r in czar.requests if r.HasField("snapshot")] == [3]


def test_a_table_is_shown_with_types_units_and_keys(czar, run):
    found = run("show", "dr1.match", czar=czar)
    assert found.exit_code == 0
    lines = found.stdout.splitlines()
    assert lines[:2] == [
        (
            "dr1.Match: ref-match, director Object, key a, second director Object, "
            "second key b"
        ),
        "Pairs.",
    ]
    cells = [" ".join(line.split()) for line in lines]
    assert "a BIGINT not null" in cells
    assert "b BIGINT [deg] meta.id Which [one]." in cells
    assert "t VARCHAR(7)" in cells


def test_what_is_shown_as_felis_is_read_back(czar, run, tmp_path):
    for option, name in (("--felis", "dr1.yaml"), ("--sidecar", "dr1.sidecar.yaml")):
        found = run("show", "dr1", option, czar=czar)
        assert found.exit_code == 0
        (tmp_path / name).write_text(found.stdout)
    # The unit [deg] is none of Felis, and stays behind as a comment.
    expected = [t for t in TABLES if t is not MATCH]
    assert list(read_schema(tmp_path / "dr1.yaml", only=["ForcedSource"])) == expected


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dr1.Star", "there is no dr1.Star; its release has: Object, ForcedSource, M"),
        ("dr2", "there is no dr2; its release has: nothing"),
    ],
)
def test_what_does_not_exist_is_said(czar, run, name, says):
    found = run("show", name, czar=czar)
    assert found.exit_code == 2
    assert says in found.stderr


def test_a_draft_is_written_and_never_over_another(run, tmp_path):
    (tmp_path / "o.csv").write_text("id,ra,dec\n1,10,20\n2,11,21\n")
    printed = run("infer", "Object=o.csv")
    assert printed.stdout.startswith("# mine.yaml\n# Guessed from files")
    assert "# mine.sidecar.yaml\n" in printed.stdout
    found = run("infer", "Object=o.csv", "-o", "sky.yaml")
    assert found.stdout == (
        "wrote sky.yaml (3 columns) and sky.sidecar.yaml; check them both\n"
    )
    (table,) = read_schema(tmp_path / "sky.yaml")
    assert (table.key, table.position) == ("id", ("ra", "dec"))
    again = run("infer", "Object=o.csv", "-o", "sky.yaml")
    assert (again.exit_code, again.stderr) == (
        2,
        "error Q3009: sky.yaml exists; name another file, or say --force\n",
    )
    assert run("infer", "Object=o.csv", "-o", "sky.yaml", "--force").exit_code == 0
    nowhere = run("infer", "Object=o.csv", "-o", "no/sky.yaml")
    assert "cannot write no/sky.yaml" in nowhere.stderr
    assert "is not TABLE=FILES" in run("infer", "o.csv").stderr


@pytest.mark.parametrize("module", ["qserv.cli.main", "qserv.worker.program", "qserv"])
def test_felis_is_loaded_only_by_who_reads_it(module):
    code = f"import sys, {module}; sys.exit('felis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
