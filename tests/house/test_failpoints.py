"""Every failpoint that is named exists in the code and is tried, and no other."""

import ast
import runpy
from pathlib import Path

import pytest

import qserv
from qserv import failpoint

CODE = Path(qserv.__file__).parent
CHAOS = Path(__file__).parent.parent / "chaos"
CALLS = {"reached", "waits"}


def named(path):
    """Yield the failpoints that a module's calls name."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name("failpoint"), attr=attribute),
                args=[ast.Constant(name)],
            ) if attribute in CALLS:
                yield name
            case ast.Constant(str(name)) if name in failpoint.NAMES:
                yield name


def test_the_names_are_those_in_the_code():
    files = [p for p in CODE.rglob("*.py") if p.name != "failpoint.py"]
    assert {name for path in files for name in named(path)} == failpoint.NAMES


def test_programs_die_at_each_of_them():
    tried = [runpy.run_path(str(p))["POINTS"] for p in CHAOS.glob("test_*.py")]
    assert {name for points in tried for name in points} == failpoint.NAMES


@pytest.mark.parametrize("name", sorted(failpoint.NAMES))
def test_a_name_says_program_step_and_instant(name):
    assert len(name.split(".")) == 3
    assert name == name.lower()
