"""What a clone holds: the rooms of the house, files of a readable size, no machine."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    if name and (ROOT / name).is_file()
]
TOP = """
    .ci .gitignore CONTRIBUTING.md LICENSE Makefile README.md
    cluster docs proto pyproject.toml qserv sql tests
"""
MACHINE = re.compile(rb"/(work|home|root|Users|mnt|scratch)/[A-Za-z]")


def lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def test_the_top_level_is_the_house():
    assert sorted({p.relative_to(ROOT).parts[0] for p in TRACKED}) == TOP.split()


def test_no_file_names_a_machines_path():
    named = {
        str(path.relative_to(ROOT)): found.group().decode()
        for path in TRACKED
        if path.suffix not in {".parquet", ".png"}
        and path != Path(__file__)
        and (found := MACHINE.search(path.read_bytes()))
    }
    assert named == {}


def test_no_source_file_is_too_long_to_read():
    written = [p for p in TRACKED if p.suffix == ".py" and "v1" not in p.parts]
    long = {
        str(path.relative_to(ROOT)): lines(path)
        for path in written
        if lines(path) > 400
    }
    assert long == {}


def test_the_licence_is_the_one_declared():
    text = (ROOT / "LICENSE").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "Version 3, 29 June 2007" in text
    assert 'license = "GPL-3.0-or-later"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("word", ["TODO", "FIXME", "XXX"])
def test_nothing_is_left_for_later(word):
    marked = [
        str(path.relative_to(ROOT))
        for path in TRACKED
        if path.suffix in {".py", ".sql", ".proto", ".md"}
        and path != Path(__file__)
        and re.search(rf"\b{word}\b", path.read_text(encoding="utf-8"))
    ]
    assert marked == []
