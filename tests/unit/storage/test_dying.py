"""A process is killed at every step of finding damage: nothing bad is used after."""

import signal
import subprocess
import sys
from hashlib import sha256

import pytest

from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.errors import CorruptData
from qserv.storage.inventory import Inventory
from qserv.storage.quarantine import Quarantine
from qserv.storage.verified import VerifiedLog

GOOD, BAD = b"good" * 1000, b"gone" * 1000
PROGRAM = """
import sys
from pathlib import Path
from qserv import failpoint
from test_dying import held
failpoint.arm(sys.argv[2])
inventory, entries = held(Path(sys.argv[1]))
for entry in entries:
    inventory.ready([entry])
"""
STEPS = (
    "worker.verified.kept",
    "worker.verified.kept:2",
    "worker.quarantine.noted",
    "durable.write.written",
    "durable.write.replaced",
    "worker.quarantine.moved",
)


def held(root):
    """Return an inventory of two files of which the second should be good, too."""
    digest = sha256(GOOD).hexdigest()
    entries = [
        ManifestEntry(Role.BASE, 4, f"dr1/O/{name}.parquet", 1, 1, len(GOOD), digest)
        for name in "abc"
    ]
    inventory = Inventory(
        root / "data",
        log=VerifiedLog(root / "verified.log"),
        quarantine=Quarantine(root / "quarantine"),
    )
    return inventory, entries


@pytest.mark.parametrize("step", STEPS)
def test_what_was_not_found_good_is_not_used_after_a_crash(tmp_path, step):
    files = {}
    for name, content in (("a", GOOD), ("b", GOOD), ("c", BAD)):
        files[name] = tmp_path / "data" / "dr1" / "O" / f"{name}.parquet"
        files[name].parent.mkdir(parents=True, exist_ok=True)
        files[name].write_bytes(content)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), step]
    here = str(__file__).rpartition("/")[0]
    done = subprocess.run(command, cwd=here, check=False)
    assert done.returncode == -signal.SIGKILL
    inventory, entries = held(tmp_path)
    first, second, bad = entries
    assert inventory.ready([first, second])
    with pytest.raises(CorruptData):
        inventory.ready([bad])
    assert not files["c"].exists()
    assert {note.path for note in Quarantine(tmp_path / "quarantine").notes()} == {
        bad.path
    }
