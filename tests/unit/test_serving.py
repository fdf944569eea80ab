"""What a process that serves loads, and what it keeps out."""

import subprocess
import sys

import pytest

LOADED = """
import sys
from qserv import serving
{begin}
import pyarrow, healpy, structlog
pyarrow.array([1])
print(*sorted({{"pandas", "matplotlib", "rich", "healpy"}} & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    ("begin", "loaded"),
    [("serving.begin()", "healpy"), ("", "healpy matplotlib pandas rich")],
    ids=["a process that serves", "any other"],
)
def test_what_others_would_import_needlessly_is_kept_out(begin, loaded):
    command = [sys.executable, "-c", LOADED.format(begin=begin)]
    assert subprocess.check_output(command, text=True).strip() == loaded


def test_a_worker_needs_no_database_of_metadata():
    code = "import qserv.worker.program, sys; print('sqlalchemy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code]).split() == [b"False"]
