"""``qserv metadata`` says in one line what is wrong, and touches nothing then."""

import json
from contextlib import closing

import pytest
from click.testing import CliRunner
from support import metadata

from qserv.catalog.store import Store
from qserv.cli.main import main


def run(*arguments):
    return CliRunner().invoke(main, ["metadata", *map(str, arguments)])


@pytest.fixture
def czar(tmp_path):
    directory = tmp_path / "czar"
    with closing(Store.open(directory)) as store:
        metadata.publish(store)
    return directory


def test_backup_and_restore_say_what_they_did(czar, tmp_path):
    done = run("backup", tmp_path / "file", "--dir", czar)
    assert done.exit_code == 0
    assert "rows of metadata are in" in done.output
    done = run("restore", tmp_path / "file", "--dir", tmp_path / "other")
    assert "is as it was at" in done.output
    with closing(Store.open(tmp_path / "other")) as again:
        assert again.snapshot().table("hip", "Object").rows == 20


def test_the_directory_of_a_whole_cluster_will_do(czar, tmp_path):
    (tmp_path / "worker-1").mkdir()
    assert run("backup", tmp_path / "file", "--dir", tmp_path).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backup", "{}/f", "--dir", "{}/none"], "there is no metadata in {}/none"),
        (["backup", "{}/no/f", "--dir", "{}/czar"], "cannot write {}/no/f: No such"),
        (["restore", "{}/f", "--dir", "{}/o"], "cannot read {}/f: No such file"),
        (["restore", "{}/f", "--metadata", "oracle://x/y"], "metadata is kept in"),
        (["rebuild", "--dir", "{}/o"], "there are no workers in {}/o: name them with"),
        (["rebuild", "--worker-dir", "{}/o"], "{}/o is not the directory of a worker"),
        (
            ["rebuild", "--dir", "{}/o", "--worker-dir", "{}/empty"],
            "no worker remembers a catalog",
        ),
    ],
)
def test_a_mistake_is_one_line(arguments, said, czar, tmp_path):
    (tmp_path / "empty").mkdir()
    identity = {"worker_id": "w1", "cluster_id": "c"}
    (tmp_path / "empty" / "worker.json").write_text(json.dumps(identity))
    done = run(*(each.format(tmp_path) for each in arguments))
    assert done.exit_code == 2
    assert done.output.startswith("error Q3")
    assert said.format(tmp_path) in done.output
    assert done.output.count("\n") == 1


def test_a_worker_that_does_not_answer_is_named(tmp_path):
    done = run("rebuild", "--dir", tmp_path, "--worker", "127.0.0.1:1")
    assert done.exit_code == 1
    assert "127.0.0.1:1" in done.output
