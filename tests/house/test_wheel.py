"""An installed qserv has its SQL, its sample and its types: nothing of the checkout."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

READ = """
import qserv, sys
from importlib.resources import files
from pathlib import Path
from qserv import sqltext
assert Path(qserv.__file__).is_relative_to(sys.argv[1]), qserv.__file__
print(sqltext.read("worker/macros.sql")[:40])
print(*(number for number, _ in sqltext.migrations()))
print(*(f.name for f in files("qserv").rglob("*.parquet")))
"""


def run(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install a wheel of the checkout into a directory of its own."""
    place = tmp_path_factory.mktemp("wheel")
    quiet = ["--no-deps", "--quiet", "--disable-pip-version-check"]
    build = ["--no-build-isolation", "--wheel-dir", place, ROOT]
    run("-m", "pip", "wheel", *quiet, *build, cwd=place)
    (wheel,) = place.glob("qserv-*.whl")
    target = place / "site"
    run("-m", "pip", "install", *quiet, "--target", target, wheel, cwd=place)
    return target


def test_sql_and_sample_are_in_the_wheel(installed):
    read = f"import sys; sys.path.insert(0, sys.argv[1])\n{READ}"
    output = run("-I", "-c", read, installed, cwd=installed)
    macros, migrations, samples = output.rstrip("\n").rsplit("\n", 2)
    assert macros.strip()
    assert migrations.split()[0] == "1"
    assert "hipparcos.parquet" in samples.split()
