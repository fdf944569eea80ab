"""Settings come from four places, and a mistake names its place."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from qserv.config import CzarConfig, WorkerConfig, load
from qserv.errors import InvalidRequest


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "qserv.toml"

    def write(text):
        path.write_text(text)
        return path

    return write


def test_defaults_are_complete():
    assert load(CzarConfig).port == 7480
    assert load(WorkerConfig).batch_bytes == 256 * 2**20


def test_the_command_line_beats_the_environment_beats_the_file(file, monkeypatch):
    path = file('port = 1\nreplicas = 2\nlog_level = "debug"\n')
    monkeypatch.setenv("QSERV_PORT", "3")
    monkeypatch.setenv("QSERV_REPLICAS", "4")
    config = load(CzarConfig, path, port=5, directory=None)
    assert (config.port, config.replicas, config.log_level) == (5, 4, "debug")
    assert config.directory == Path("qserv-data")


def test_addresses_are_a_list_in_a_file_and_have_commas_elsewhere(file, monkeypatch):
    path = file('czars = ["a:1", "b:2"]')
    assert load(WorkerConfig, path).czars == ("a:1", "b:2")
    monkeypatch.setenv("QSERV_CZARS", "c:3,d:4")
    assert load(WorkerConfig, path).czars == ("c:3", "d:4")


def test_bytes_may_have_a_unit(file):
    assert load(WorkerConfig, file('memory = "2 GiB"')).memory == 2 * 2**30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 7480", "setting prot in file .*qserv.toml: there is no such setting"),
        ('port = "x"', "setting port in file .*: .*integer.*not 'x'"),
        ("port = 70000", "setting port in file .*: .*65535, not 70000"),
        ("dead_after = 0.5", "dead_after must be longer than join_interval"),
        (
            'failpoint = "nowhere"',
            "setting failpoint .*there is no failpoint 'nowhere'",
        ),
        ("port = ", "qserv.toml is not TOML: Invalid value"),
    ],
)
def test_a_mistake_in_a_file_is_named(file, text, message):
    with pytest.raises(InvalidRequest, match=message):
        load(CzarConfig, file(text))


def test_a_mistake_in_the_environment_is_named(monkeypatch):
    monkeypatch.setenv("QSERV_THREADS", "many")
    with pytest.raises(InvalidRequest, match="setting threads in the environment"):
        load(WorkerConfig)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidRequest, match=r"none\.toml: No such file"):
        load(CzarConfig, tmp_path / "none.toml")


def test_settings_never_change():
    with pytest.raises(ValidationError, match="frozen"):
        load(CzarConfig).port = 1
