"""The scratch directory of a load: made, left to the next try, removed."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

from qserv.errors import CzarUnavailable, InvalidRequest, Superseded
from qserv.ingest.bulk.scratch import Scratch

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_PREFIX: Final = "qserv-load-"


def remove_scratch(load: str, root: Path | None) -> None:
    """Remove what killed loaders of a load have left; `root` as in `scratch_of`."""
    for left in _above(root).glob(f"{_PREFIX}{load}-*"):
        Scratch(left).remove()


def _above(root: Path | None) -> Path:
    return Path(tempfile.gettempdir()) if root is None else root


@contextmanager
def scratch_of(load: str, root: Path | None) -> Iterator[Scratch]:
    """Give a load its scratch directory; a killed loader leaves it to the next one.

    Parameters
    ----------
    load
        Its id; empty for a dry run.
    root
        The directory that it is made in; None: the system's for temporary files.

    Raises
    ------
    InvalidRequest
        If it cannot be made there.
    """
    above = _above(root)
    # After a restart of the machine, files may be there without their content.
    boot = _BOOT.read_text().strip()[:8] if _BOOT.exists() else "0"
    name = f"{_PREFIX}{load}-{boot}" if load else f"qserv-dry-{uuid4().hex}"
    scratch = Scratch((above / name).absolute())
    try:
        scratch.make()
    except OSError as error:
        raise InvalidRequest(
            f"cannot keep what is under way in {above}: {error.strerror}; give another "
            "directory with --scratch"
        ) from error
    try:
        yield scratch
    except (CzarUnavailable, Superseded):
        raise  # the load is still open: who goes on with it uses what is there
    except BaseException:
        scratch.remove()
        raise
    scratch.remove()
