"""``qserv scrub`` and ``qserv doctor``: lines, statuses, and what programs read."""

import json
import time
from importlib.metadata import version

import pytest
from click.testing import CliRunner
from support import metadata
from support.fake_czar import FakeCzar, serving

from qserv.catalog.store import Store
from qserv.cli.main import main
from qserv.errors import InvalidRequest, WorkerUnavailable
from qserv.wire.errors import error_to_proto
from qserv.wire.v1 import common_pb2
from qserv.wire.v1 import czar_pb2 as pb

BAD = common_pb2.DamagedFile(path="a.parquet", reason="file a.parquet: it is missing")


def at(worker, **progress):
    made = common_pb2.ScrubProgress(
        files_total=2,
        size_total=4_000_000,
        **{"files": 2, "size": 4_000_000} | progress,
    )
    return pb.ScrubClusterReply(worker_id=worker, progress=made)


class Checked(FakeCzar):
    """Scrubs and examines as it is told to."""

    def __init__(self):
        super().__init__()
        self.steps = [at("w1", files=1), at("w1", finished=True)]
        self.findings = [("metadata", "ok", "whole", "")]
        self.version, self.ahead = version("qserv"), 0.0

    async def Scrub(self, request, context):
        self.requests.append(request)
        if self.error:
            raise self.error
        for step in self.steps:
            yield step
        self.findings = [("metadata", "ok", "whole", "")]

    async def Examine(self, request, context):
        return pb.ExamineClusterReply(
            findings=[
                pb.Finding(
                    check=check,
                    level=level,
                    text=text,
                    remedy=remedy,
                    scrub="w1" if "scrub" in remedy else "",
                )
                for check, level, text, remedy in self.findings
            ],
            clock=time.time() + self.ahead,
            version=self.version,
        )


@pytest.fixture
def czar():
    czar = Checked()
    with serving(czar) as czar.endpoint:
        yield czar


def run(*arguments, czar=None):
    environment = {"QSERV_CZAR": czar.endpoint} if czar else {}
    return CliRunner().invoke(main, arguments, env=environment)


def test_a_scrub_that_finds_nothing(czar):
    done = run("scrub", "--worker", "w1", "--rate", "1.5", czar=czar)
    assert done.exit_code == 0, done.output
    assert done.stdout == "w1: 2 files, 4.0 MB; none damaged\n"
    (request,) = czar.requests
    assert (list(request.worker_ids), request.bytes_per_second) == (["w1"], 1_500_000)


def test_a_scrub_that_finds_damage(czar):
    lost = error_to_proto(WorkerUnavailable("worker w2 does not answer"))
    czar.steps = [
        at("w1", files=1, damaged=[BAD]),
        at("w1", unknown=["b.parquet"], finished=True),
        pb.ScrubClusterReply(worker_id="w2", error=lost),
    ]
    done = run("scrub", czar=czar)
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "damaged  w1  file a.parquet: it is missing",
        "unknown  w1  b.parquet: no manifest names it",
        "w1: 2 files, 4.0 MB; 1 damaged",
        "trouble  w2  worker w2 does not answer",
        "w2: 0 files, 0.0 MB; none damaged",
    ]


def test_a_scrub_for_programs(czar):
    czar.steps = [at("w1", damaged=[BAD], finished=True)]
    done = run("scrub", "--json", czar=czar)
    assert json.loads(done.stdout)["w1"]["damaged"] == [[BAD.path, BAD.reason]]


def test_a_scrub_of_a_worker_that_is_none(czar):
    czar.error = InvalidRequest("there is no worker w9; there are: w1")
    done = run("scrub", "--worker", "w9", czar=czar)
    assert done.exit_code == 2
    assert done.stderr == "error Q3009: there is no worker w9; there are: w1\n"


def test_a_cluster_that_is_well(czar):
    done = run("doctor", czar=czar)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        f"ok       czar       answers at {czar.endpoint}",
        "ok       metadata   whole",
    ]


def test_a_problem_has_a_remedy_and_a_status(czar):
    czar.findings = [("copies", "problem", "2 are lost", "start worker w2")]
    done = run("doctor", czar=czar)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[1:] == [
        "problem  copies     2 are lost",
        f"{'':19} → start worker w2",
    ]


def test_what_a_scrub_mends_is_mended_and_the_rest_is_told(czar):
    czar.findings = [("scrub", "problem", "is old", "qserv scrub --worker w1")]
    assert run("doctor", czar=czar).exit_code == 1
    assert czar.requests == []
    done = run("doctor", "--fix", czar=czar)
    assert done.exit_code == 0, done.output
    assert [list(each.worker_ids) for each in czar.requests] == [["w1"]]
    assert done.stderr.splitlines() == [
        "scrubbing w1 …",
        "w1: 2 files, 4.0 MB; none damaged",
    ]
    assert "is old" not in done.stdout
    run("doctor", "--fix", czar=czar)
    assert len(czar.requests) == 1, "once it is mended, nothing is done"


def test_a_warning_is_no_problem(czar):
    czar.version, czar.ahead = "0.0", 60.0
    done = run("doctor", "--json", czar=czar)
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["level"] == "warning"
    texts = [f["text"] for f in told["findings"] if f["level"] == "warning"]
    assert texts[0] == f"this command is qserv {version('qserv')}, the czar 0.0"
    assert texts[1].endswith("s away from this machine's")


def test_a_czar_that_does_not_answer():
    done = run("doctor", "--czar", "127.0.0.1:1")
    assert done.exit_code == 1
    assert done.stdout.startswith("problem  czar ")
    assert "→ start it: qserv up, or qserv czar" in done.stdout


def test_a_directory_that_is_none(tmp_path):
    done = run("doctor", "--dir", str(tmp_path / "none"))
    assert done.exit_code == 2
    assert "no cluster runs in" in done.stderr


@pytest.fixture
def stopped(tmp_path):
    """Leave a cluster whose workers live elsewhere."""
    store = Store.open(tmp_path / "czar")
    metadata.publish(store)
    store.close()
    (tmp_path / "endpoint").write_text("127.0.0.1:1\n")
    return tmp_path


def test_a_cluster_that_is_stopped_is_read_from_its_directory(stopped):
    done = run("doctor", "--dir", str(stopped))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert f"no cluster runs in {stopped}: its directories are read" in lines[0]
    assert "the endpoint file was left by a cluster that is gone" in lines[2]
    assert f"ok       metadata   whole ({stopped}/czar)" in lines
    assert "warning  workers    worker w1 has no directory here" in lines


def test_metadata_that_is_damaged_is_a_problem(stopped):
    file = stopped / "czar" / "metadata.sqlite"
    data = bytearray(file.read_bytes())
    data[5000:9000] = bytes(4000)
    file.write_bytes(data)
    done = run("doctor", "--dir", str(stopped))
    assert done.exit_code == 1
    assert "problem  metadata " in done.stdout
    assert "qserv metadata restore" in done.stdout


def test_metadata_that_is_lost_is_a_problem(stopped):
    (stopped / "czar" / "metadata.sqlite").unlink()
    done = run("doctor", "--dir", str(stopped))
    assert done.exit_code == 1
    assert f"there is no metadata in {stopped}/czar" in done.stdout
