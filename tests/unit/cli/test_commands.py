"""Commands print what was asked for, and one clear line when they cannot."""

import fcntl
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from pyarrow import csv, parquet
from support.fake_czar import FakeCzar, answer, serving

from qserv.catalog.tables import Column, DataType
from qserv.cli.main import main
from qserv.client.connection import Connection
from qserv.errors import InternalError, UnknownName, WorkerUnavailable
from qserv.sky.chunking import chunk_id
from qserv.wire.v1 import czar_pb2 as pb

COLUMNS = [
    Column("name", DataType.VARCHAR),
    Column("ra", DataType.DOUBLE, "deg"),
]
ROWS = {"name": ["Vega", None, "[red]"], "ra": [279.25, 0.125, None]}


@pytest.fixture
def czar():
    czar = FakeCzar()
    czar.frames = answer(COLUMNS, ROWS, warnings=["only a warning"])
    with serving(czar) as czar.endpoint:
        yield czar


def test_a_table_for_people(qserv):
    done = qserv("sql", "SELECT")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["name", "ra"] in lines
    assert ["deg"] in lines
    assert ["Vega", "279.25"] in lines
    assert ["NULL", "0.125"] in lines
    assert ["[red]", "NULL"] in lines, "a value is never markup"
    assert "3 rows in 0.002 s, 2 of 12 chunks" in done.stderr
    assert "warning: only a warning" in done.stderr


def test_a_table_shows_names_and_values_as_they_are(qserv, czar):
    names = [":star:", "a [b] c", "o\\[x"]
    czar.frames = answer([Column("[red]q", DataType.VARCHAR)], {"[red]q": names})
    lines = [line.rstrip() for line in qserv("sql", "SELECT").stdout.splitlines()]
    assert [lines[0], *lines[2:]] == ["[red]q", *names]


def test_a_table_is_never_folded(qserv, czar, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    columns = [Column(f"column{n}", DataType.DOUBLE) for n in range(9)]
    czar.frames = answer(columns, {c.name: [123.456789012] for c in columns})
    lines = qserv("sql", "SELECT").stdout.splitlines()
    assert lines[-1].split() == ["123.456789012"] * 9


def test_a_long_table_says_what_it_leaves_out(qserv, czar):
    czar.frames = answer([Column("n", DataType.BIGINT)], {"n": list(range(1201))})
    last = qserv("sql", "SELECT").stdout.splitlines()[-1]
    assert last == "… and 1,001 rows more: csv, parquet and json keep all"


def test_single_precision_keeps_its_digits_in_json(qserv, czar):
    czar.frames = answer([Column("p", DataType.REAL)], {"p": [130.22, None]})
    done = qserv("sql", "--format", "json", "SELECT")
    assert json.loads(done.stdout) == [{"p": 130.22}, {"p": None}]


def test_csv_and_json_go_to_standard_output(qserv):
    done = qserv("sql", "--format", "csv", "SELECT")
    assert done.stdout == '"name","ra"\n"Vega",279.25\n,0.125\n"[red]",\n'
    done = qserv("sql", "--format", "json", "SELECT")
    assert json.loads(done.stdout) == [
        {"name": "Vega", "ra": 279.25},
        {"name": None, "ra": 0.125},
        {"name": "[red]", "ra": None},
    ]


def test_a_file_is_written_in_the_format_of_its_name(qserv, tmp_path):
    assert qserv("sql", "-o", str(tmp_path / "a.parquet"), "SELECT").exit_code == 0
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.to_pydict() == ROWS
    assert table.schema.field("ra").metadata[b"unit"] == b"deg"
    assert qserv("sql", "-o", str(tmp_path / "a.csv"), "SELECT").exit_code == 0
    assert csv.read_csv(tmp_path / "a.csv").num_rows == 3


@pytest.mark.parametrize("name", ["a.fits", "a.txt", "a"])
def test_a_file_of_unknown_format_is_not_written(qserv, tmp_path, name):
    done = qserv("sql", "-o", str(tmp_path / name), "SELECT")
    assert done.exit_code == 2
    assert "ends in .csv, .parquet or .json" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "option", [("--max-rows", "-1"), ("--timeout", "0"), ("--timeout", "-1")]
)
def test_a_limit_below_zero_is_refused(qserv, czar, option):
    assert qserv("sql", *option, "SELECT").exit_code == 2
    assert czar.requests == []


def test_a_broken_answer_leaves_the_file_as_it_was(qserv, czar, tmp_path):
    kept = tmp_path / "a.csv"
    kept.write_text("before")
    del czar.frames[-1]
    done = qserv("sql", "-o", str(kept), "SELECT")
    assert done.exit_code == 1
    assert done.stderr.startswith("error Q5004: ")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


@pytest.mark.parametrize(
    "command", [("sql", "--format", "csv", "SELECT"), ("map", "hip.Object")]
)
def test_a_file_that_cannot_be_written_is_one_line(qserv, czar, tmp_path, command):
    fill(czar.status)
    missing = tmp_path / "missing" / "a.png"
    done = qserv(*command, "-o", str(missing))
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1] == (
        f"error Q3009: cannot write {missing}: No such file or directory"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--explain", "SELECT 1"], "the plan of SELECT 1\n"),
        (["--analyze", "SELECT 1"], "what happened to SELECT 1\n"),
        (["explain SELECT 1"], "the plan of explain SELECT 1\n"),
        (["EXPLAIN ANALYZE SELECT 1"], "what happened to EXPLAIN ANALYZE SELECT 1\n"),
        (["--explain", "EXPLAIN ANALYZE a"], "the plan of EXPLAIN ANALYZE a\n"),
    ],
)
def test_explain_prints_the_plan_as_it_is(qserv, czar, arguments, told):
    assert qserv("sql", *arguments).stdout == told
    assert czar.requests == []


def test_explain_is_a_table_for_those_who_ask_for_one(qserv, czar):
    lines = qserv("sql", "--format", "csv", "EXPLAIN SELECT 1").stdout.splitlines()
    assert lines[0] == '"name","ra"'


def test_a_query_may_come_from_standard_input(czar):
    done = CliRunner().invoke(
        main, ["sql", "--czar", czar.endpoint, "-"], input="SELECT 2"
    )
    assert done.exit_code == 0, done.output
    assert czar.requests[0].text == "SELECT 2"


def test_a_users_error_is_one_line_and_status_2(qserv, czar):
    czar.error = UnknownName("there is no release hop; loaded are: hip")
    done = qserv("sql", "SELECT")
    assert done.stderr == "error Q3002: there is no release hop; loaded are: hip\n"
    assert (done.exit_code, done.stdout) == (2, "")


def test_a_bug_says_what_to_do(qserv, czar):
    czar.error = InternalError("this cannot be")
    done = qserv("sql", "SELECT")
    assert done.stderr.startswith("error Q9001: [BUG] this cannot be\nplease report")
    assert done.exit_code == 1


def test_nobody_there_is_one_line_and_status_1():
    done = CliRunner().invoke(main, ["status", "--czar", "127.0.0.1:1"])
    assert done.exit_code == 1
    assert done.stderr.startswith("error Q5001: the czar at 127.0.0.1:1")
    assert len(done.stderr.splitlines()) == 1


def test_without_a_cluster_it_says_how_to_start_one(tmp_path):
    done = CliRunner().invoke(main, ["status", "--dir", str(tmp_path)])
    assert done.exit_code == 2
    assert "qserv up" in done.stderr


@pytest.fixture
def running(czar, tmp_path):
    """A directory like that of a cluster that runs."""
    (tmp_path / "endpoint").write_text(czar.endpoint + "\n")
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield tmp_path


def test_the_endpoint_file_of_a_directory_is_found(running):
    done = CliRunner().invoke(main, ["status", "--dir", str(running)])
    assert done.exit_code == 0, done.output
    assert "snapshot 7" in done.stdout


def test_an_endpoint_file_that_a_killed_cluster_left_is_not_believed(running):
    (running / "lock").unlink()
    (running / "lock").touch()
    done = CliRunner().invoke(main, ["status", "--dir", str(running)])
    assert done.exit_code == 2
    assert f"no cluster runs in {running}" in done.stderr


def test_a_directory_that_was_written_goes_before_the_environment(running, czar):
    def status(*arguments):
        elsewhere = {"QSERV_CZAR": "127.0.0.1:1"}
        return CliRunner().invoke(main, ["status", *arguments], env=elsewhere).exit_code

    assert status("--dir", str(running)) == 0
    assert status() == 1
    assert status("--czar", czar.endpoint, "--dir", str(running / "none")) == 0


def fill(status):
    status.workers.add(
        worker_id="w-a",
        endpoint="h:1",
        alive=True,
        chunks=2,
        threads=1,
        disk_free=5_000_000_000,
    )
    status.workers.add(
        worker_id="w-b", endpoint="h:2", seconds_since_seen=9, disk_free=-1
    )
    chunks = [chunk_id(1, pixel) for pixel in range(48)]
    tables = [
        pb.TableStatus(
            name="Object",
            kind="director",
            rows=480,
            size=2_500_000,
            chunks=48,
            chunk_ids=chunks,
            chunk_rows=[10] * 48,
        ),
        pb.TableStatus(name="Filter", kind="replicated", rows=4),
    ]
    status.releases.add(
        name="hip", state="published", chunks=48, orders=[1, 2], tables=tables
    )
    status.queries.add(query_id="q-9", text="SELECT\n  1", state="running", chunks=4)


def test_status_for_people(qserv, czar):
    fill(czar.status)
    lines = [" ".join(line.split()) for line in qserv("status").stdout.splitlines()]
    assert "w-a h:1 alive 2 1 5,000" in lines
    assert "w-b h:2 silent for 9 s 0 0" in lines
    assert "all chunks have as many copies as are wanted" in lines
    assert "hip.Object director published 480 2.5 48 of 48 1 to 2" in lines
    assert any(line.startswith("q-9 running SELECT 1") for line in lines)


def test_status_for_programs(qserv, czar):
    fill(czar.status)
    status = json.loads(qserv("status", "--json").stdout)
    assert status["releases"][0]["tables"][0]["chunk_rows"] == [10] * 48
    assert status["workers"][1]["alive"] is False


def test_a_map_is_drawn(qserv, czar, tmp_path):
    fill(czar.status)
    done = qserv("map", "hip.Object", "-o", str(tmp_path / "sky.png"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "sky.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("table", "says"), [("hip.None", "no table hip.None"), ("hip.Filter", "no chunk")]
)
def test_what_cannot_be_drawn_is_said(qserv, czar, table, says):
    fill(czar.status)
    done = qserv("map", table)
    assert done.exit_code == 2
    assert says in done.stderr


def test_load_wants_table_and_files(qserv):
    done = qserv("load", "mine", "objects.parquet")
    assert done.exit_code == 2
    assert "TABLE=FILES" in done.stderr


def test_importing_the_command_line_is_cheap():
    slow = "{'astropy', 'healpy', 'felis', 'grpc', 'duckdb', 'numpy', 'pyarrow'}"
    code = f"import sys, qserv.cli.main; print({slow} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (WorkerUnavailable("w1 is gone"), "error Q5002: w1 is gone\n  {}\n"),
        (KeyboardInterrupt(), "  {}\n\nAborted!\n"),
    ],
)
def test_what_to_do_about_an_error_is_told(qserv, monkeypatch, error, said):
    note = "load t1 is still open"
    error.add_note(note)

    def fail(_):
        raise error

    monkeypatch.setattr(Connection, "status", fail)
    assert qserv("status").stderr == said.format(note)
