"""What a process that serves loads, and what it keeps out."""

import subprocess
import sys

import pytest

LOADED = """
import sys
from qserv import serving
{begin}
import pyarrow, healpy
pyarrow.array([1])
print(*sorted({{"pandas", "matplotlib", "healpy"}} & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    ("begin", "loaded"),
    [("serving.begin()", "healpy"), ("", "healpy matplotlib pandas")],
    ids=["a process that serves", "any other"],
)
def test_what_others_would_import_needlessly_is_kept_out(begin, loaded):
    command = [sys.executable, "-c", LOADED.format(begin=begin)]
    assert subprocess.check_output(command, text=True).strip() == loaded
