"""Which format a worker's directory has: old ones are brought forward, newer refused.

The number stands in a file of the directory. It grows whenever what lies there is
written in a way that an older qserv would misread; a step then brings what is there
forward, once, before the worker serves.
"""

from collections.abc import Callable, Sequence
from typing import Final

from qserv.errors import InvalidRequest
from qserv.storage.durable import write_file
from qserv.storage.layout import WorkerDirectory

Step = Callable[[WorkerDirectory], None]

STEPS: Final[tuple[Step, ...]] = ()
"""Step n brings a directory from format n (from 1) to n + 1; it may be repeated."""


def settle(directory: WorkerDirectory, steps: Sequence[Step] = STEPS) -> None:
    """Bring a directory to the format of this qserv; only its worker may do so.

    Parameters
    ----------
    directory
        The worker's; one without a number is new, or of format 1.
    steps
        As `STEPS`.

    Raises
    ------
    InvalidRequest
        If a newer qserv wrote it.
    """
    newest = len(steps) + 1
    have = check(directory, newest)
    if not directory.identity.exists():
        have = newest
    for number, step in enumerate(steps, 1):
        if number >= have:
            step(directory)
            _write(directory, number + 1)
    _write(directory, newest)


def check(directory: WorkerDirectory, newest: int = len(STEPS) + 1) -> int:
    """Return the format of a directory.

    Raises
    ------
    InvalidRequest
        If a newer qserv wrote it.
    """
    have = _read(directory)
    if have > newest:
        raise InvalidRequest(
            f"the worker's directory {directory.root} has format {have}, but this "
            f"qserv knows {newest} at most; use the newer qserv"
        )
    return have


def _read(directory: WorkerDirectory) -> int:
    path = directory.format
    if not path.exists():
        return 1
    text = path.read_text(encoding="utf-8").strip()
    if not text.isdecimal():
        raise InvalidRequest(f"{path} does not hold the number of a format: {text!r}")
    return int(text)


def _write(directory: WorkerDirectory, number: int) -> None:
    write_file(directory.format, f"{number}\n".encode())
