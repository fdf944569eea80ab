"""What `cluster/` tells people to run is something that qserv understands."""

import re
import shlex
import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest

from qserv import config
from qserv.cli.main import main

CLUSTER = Path(__file__).parents[2] / "cluster"
MODELS = {"czar": config.CzarConfig, "worker": config.WorkerConfig}
EXAMPLE = re.compile(r"```toml\n# (\w+)\.toml\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("program", MODELS)
def test_a_unit_starts_a_command_with_options_that_exist(program):
    unit = ConfigParser(strict=False)
    unit.read(CLUSTER / "systemd" / f"qserv-{program}.service")
    path, command, *arguments = shlex.split(unit["Service"]["ExecStart"])
    assert Path(path).name == "qserv"
    assert command == program
    main.commands[command].make_context(command, arguments)


def test_the_examples_are_settings_that_exist(tmp_path):
    examples = dict(EXAMPLE.findall((CLUSTER / "README.md").read_text()))
    assert examples.keys() == MODELS.keys()
    for program, text in examples.items():
        path = tmp_path / f"{program}.toml"
        path.write_text(text)
        loaded = config.load(MODELS[program], path)
        assert loaded.model_fields_set == tomllib.loads(text).keys()
