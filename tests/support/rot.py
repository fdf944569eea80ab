"""Damages files as disks do, and makes a worker trust what it should not."""

import time
from pathlib import Path

from qserv.storage.inventory import checksum
from qserv.storage.verified import Verification, VerifiedLog


def flip(path, random):
    """Flip one bit anywhere."""
    data = bytearray(path.read_bytes())
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    path.write_bytes(data)


def truncate(path, random):
    """Cut a file short, anywhere."""
    with path.open("r+b") as file:
        file.truncate(random.randrange(path.stat().st_size))


def zero(path, random):
    """Lose a block, as a disk does that was not written to in time."""
    data = bytearray(path.read_bytes())
    start = random.randrange(len(data) - 1)
    while not any(data[start : start + 512]):
        start = random.randrange(len(data) - 1)
    data[start : start + 512] = bytes(len(data[start : start + 512]))
    path.write_bytes(data)


def lose(path, random):
    """Lose the file."""
    path.unlink()


DAMAGES = (flip, flip, flip, truncate, zero, lose)


def trusted(log: Path, path: str, file: Path, sha256: str) -> None:
    """Let a worker that starts take a file, as it is now, for verified.

    What a disk does in silence changes no time of the file; a test cannot do that, but
    it can move the times that the worker remembers.
    """
    state, _ = checksum(file)
    VerifiedLog(log).keep(path, Verification(state, sha256, time.time()))
