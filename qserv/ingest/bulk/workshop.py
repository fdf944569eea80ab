"""The scratch directory of a load: made, left to the next try, removed."""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

from qserv.errors import ClusterError, InvalidRequest, Superseded, TaskFailed
from qserv.ingest.bulk.scratch import Scratch
from qserv.telemetry import logger

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_PREFIX: Final = "qserv-load-"
_DRY: Final = "qserv-dry-"
_HELD: Final = "held"
_FORGOTTEN: Final = 7 * 86400.0
"""Seconds after which nobody comes back for what no czar knows."""

_log = logger(__name__)


def sweep(root: Path | None, ended: Callable[[str], bool | None]) -> None:
    """Remove what loaders that were killed, or failed, have left behind.

    Parameters
    ----------
    root
        As in `scratch_of`.
    ended
        Says of a load whether it has ended; None where nobody knows.
    """
    above = _above(root)
    for left in (*above.glob(f"{_PREFIX}*"), *above.glob(f"{_DRY}*")):
        load = left.name.removeprefix(_PREFIX).rpartition("-")[0]
        over = ended(load) if left.name.startswith(_PREFIX) else None
        try:
            if over or (over is None and _is_forgotten(left)):
                _remove(left)
        except OSError as error:
            _log.info("scratch stays", path=str(left), why=error.strerror)


def _is_forgotten(left: Path) -> bool:
    return time.time() - left.stat().st_mtime > _FORGOTTEN


def _remove(left: Path) -> None:
    """Remove a directory of ours that no process uses.

    Raises
    ------
    OSError
        If it is somebody else's, or is in use.
    """
    if left.stat().st_uid == os.getuid():
        with (left / _HELD).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            Scratch(left).remove()


@contextmanager
def _held(scratch: Scratch) -> Iterator[Callable[[], None]]:
    """Keep others from removing it, and give what removes it.

    A process that dies lets go of it. A loader that another one took over may end while
    that works on in the same directory, which then stays.
    """
    with scratch.file(_HELD).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)

        def remove() -> None:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                scratch.remove()

        yield remove


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
    TaskFailed
        If it is full, or is not there any more.
    """
    above = _above(root)
    # After a restart of the machine, files may be there without their content.
    boot = _BOOT.read_text().strip()[:8] if _BOOT.exists() else "0"
    name = f"{_PREFIX}{load}-{boot}" if load else f"{_DRY}{uuid4().hex}"
    scratch = Scratch((above / name).absolute())
    try:
        scratch.make()
    except OSError as error:
        raise InvalidRequest(
            f"cannot keep what is under way in {above}: {error.strerror}; give another "
            "directory with --scratch"
        ) from error
    with _held(scratch) as remove:
        try:
            yield scratch
        except (ClusterError, Superseded):
            # The load is still open: who goes on with it uses what is there.
            if not load:
                remove()
            raise
        except OSError as error:
            if not load:
                remove()
            # What is read is named by its reader: this is most likely what is kept.
            raise TaskFailed(
                f"the load failed here: {error}; see that there is space in {above}, "
                "where it keeps what is under way, or give another directory with "
                "--scratch"
            ) from error
        except BaseException:
            remove()
            raise
        remove()
