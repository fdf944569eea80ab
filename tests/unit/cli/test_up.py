"""What `qserv up` says can be pasted into a shell, and works."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from qserv.cli.endpoint import DEFAULT_DIRECTORY
from qserv.cli.main import main
from qserv.cli.up import _greeting
from qserv.client.status import ReleaseStatus, Status, TableStatus


def cluster(*tables):
    found = [TableStatus(name, kind, 0, 0, 0, (), None, None) for name, kind in tables]
    releases = (ReleaseStatus("mine", "published", "mine", 1, (0,), 0.0, tuple(found)),)
    status = Status("1", 1, (), releases, ())
    return SimpleNamespace(
        endpoint="127.0.0.1:7480",
        cluster=SimpleNamespace(workers=("worker-1",)),
        status=lambda: status,
    )


def test_the_query_is_on_a_table_that_is_there():
    db = cluster(("Filter", "replicated"), ("Star", "director"))
    text = _greeting(db, DEFAULT_DIRECTORY)
    assert 'qserv sql "SELECT TOP 5 * FROM mine.Star"' in text
    assert "load" in _greeting(cluster(), DEFAULT_DIRECTORY)


def test_a_directory_is_quoted_for_the_shell():
    directory = Path("it's a $dir")
    lines = _greeting(cluster(("Star", "director")), directory).splitlines()
    for line in lines[1:3]:
        words = shlex.split(line)
        assert words[words.index("--dir") + 1] == str(directory)


@pytest.mark.parametrize(
    "options",
    [
        ("--port", "70000"),
        ("--workers", "0"),
        ("--replicas", "0"),
        ("--threads", "0"),
        ("--workers", "2", "--replicas", "3"),
    ],
)
def test_what_cannot_start_is_refused_at_once(tmp_path, options):
    done = CliRunner().invoke(main, ["up", "--dir", str(tmp_path / "new"), *options])
    assert done.exit_code == 2
    assert not (tmp_path / "new").exists()
