"""Named places in the code at which a test may stop the program.

A program that is told so (setting ``failpoint``, ``QSERV_FAILPOINT``) dies, stops or
meets a broken disk at a place in the life of a load or of a query. Unarmed, a place
costs one look-up in an empty dictionary::

    failpoint.reached("worker.stage.synced")

A specification is the name of a place, then which time it counts and what happens::

    worker.stage.synced               the first time: kill -9 of the process
    worker.stage.synced:3             the third time
    worker.stage.synced:3+=eio        the third time and ever after
    worker.stage.synced:3=stop        SIGSTOP: the process stands until SIGCONT
    worker.stage.synced=enospc        OSError: no space left on the device
    worker.stage.synced=eio           OSError: input/output error

Several are separated by commas. A process that is started by another one is armed by
it: ``initializer=failpoint.arm, initargs=(failpoint.armed(),)``.
"""

import errno
import os
import signal
from dataclasses import dataclass
from threading import Lock
from typing import Final

__all__ = ["NAMES", "Shot", "arm", "armed", "parse", "reached", "waits"]

NAMES: Final = frozenset(
    {
        # A worker receives a file (ingest/receiver.py).
        "worker.stage.opened",
        "worker.stage.written",
        "worker.stage.synced",
        "worker.stage.renamed",
        "worker.stage.settled",
        "worker.stage.acknowledged",
        # A worker installs a load.
        "worker.install.asked",
        "worker.install.linked",
        "worker.install.manifest",
        "worker.install.manifests",
        "worker.install.staging-removed",
        # A worker copies files from others (worker/copying.py).
        "worker.pull.fetched",
        "worker.pull.moved",
        "worker.pull.manifests",
        # The czar moves copies (czar/repair.py).
        "czar.placement.aimed",
        "czar.placement.copied",
        "czar.placement.taken-over",
        "czar.placement.written",
        "czar.placement.narrowed",
        # A worker forgets a load.
        "worker.discard.asked",
        "worker.discard.file",
        "worker.discard.manifest",
        "worker.discard.staging-removed",
        # A loader reads, cuts and sends (ingest/job.py, ingest/bulk).
        "loader.begin.begun",
        "loader.run.written",
        "loader.task.done",
        "loader.place.placed",
        "loader.file.made",
        "loader.file.sent",
        "loader.contribute.told",
        "loader.commit.answered",
        # A loader reads stored files again (ingest/rework).
        "rework.file.fetched",
        # Changes to a disk, of whatever program (storage/durable.py).
        "durable.write.written",
        "durable.write.replaced",
        "durable.link.linked",
        "durable.link.directory-synced",
        "durable.move.moved",
        "durable.move.directory-synced",
        # A worker checks its files, and moves bad copies aside (storage/).
        "worker.verified.kept",
        "worker.quarantine.noted",
        "worker.quarantine.moved",
        "worker.scrub.file",
        "worker.scrub.passed",
        # The metadata is saved, made of a backup, or brought to a newer format.
        "metadata.backup.written",
        "metadata.restore.written",
        "metadata.rebuild.written",
        "metadata.migrate.applied",
        "metadata.publish.written",
        # A worker answers a query (worker/service.py).
        "worker.task.spooled",
        "worker.task.data-sent",
        "worker.task.batch-sent",
        # A czar begins, places, takes in, commits or aborts a load (czar/opening.py,
        # czar/loads.py, czar/ending.py, czar/committing.py, catalog/publication.py).
        "czar.begin.checked",
        "czar.begin.written",
        "czar.resume.written",
        "czar.place.reserved",
        "czar.place.written",
        "czar.contribute.checked",
        "czar.contribute.written",
        "czar.commit.asked",
        "czar.commit.written",
        "czar.commit.numbered",
        "czar.commit.installed",
        "czar.commit.published",
        "czar.commit.remembered",
        "czar.abort.asked",
        "czar.abort.written",
        "czar.abort.forgotten",
        "czar.publish.replaced",
        "czar.publish.files",
    }
)
"""Every place that there is; a house test compares them with the code."""

_ACTIONS: Final = ("kill", "stop", "enospc", "eio")


@dataclass(slots=True)
class Shot:
    """What happens at a place, and at which time it is reached."""

    spec: str
    name: str
    left: int
    always: bool
    action: str


_shots: dict[str, Shot] = {}
_counting = Lock()


def parse(spec: str) -> dict[str, Shot]:
    """Read a specification.

    Parameters
    ----------
    spec
        ``NAME[:TIME[+]][=ACTION]``, several with commas; empty for none.

    Returns
    -------
    dict
        By name of the place.

    Raises
    ------
    ValueError
        If it is none, or no place has that name.
    """
    return {shot.name: shot for shot in map(_shot, spec.split(",") if spec else ())}


def _shot(spec: str) -> Shot:
    place, _, action = spec.strip().partition("=")
    name, _, time = place.removesuffix("+").partition(":")
    if name not in NAMES:
        raise ValueError(f"there is no failpoint {name!r}")
    if (action or "kill") not in _ACTIONS:
        raise ValueError(f"a failpoint does {', '.join(_ACTIONS)}, not {action!r}")
    if not (time or "1").isdecimal() or int(time or 1) < 1:
        raise ValueError(f"a failpoint counts from 1, not {time!r}")
    always = place.endswith("+")
    return Shot(spec.strip(), name, int(time or 1), always, action or "kill")


def arm(spec: str) -> None:
    """Let this process fail as a specification says, and as no earlier one did.

    Parameters
    ----------
    spec
        See `parse`; empty disarms.

    Raises
    ------
    ValueError
        If it is none.
    """
    shots = parse(spec)
    _shots.clear()
    _shots.update(shots)


def armed() -> str:
    """Return what this process was armed with, for the processes that it starts."""
    return ",".join(shot.spec for shot in _shots.values())


def waits(name: str) -> bool:
    """Say whether a place is armed: a test may want what it needs to be sent first.

    Parameters
    ----------
    name
        One of `NAMES`.
    """
    return name in _shots


def reached(name: str) -> bool:
    """Say that the program is at a place; it may end here.

    Parameters
    ----------
    name
        One of `NAMES`.

    Returns
    -------
    bool
        Whether something happened, as after SIGCONT.

    Raises
    ------
    OSError
        If the place is armed with a broken disk.
    """
    if (shot := _shots.get(name)) is None:
        return False
    with _counting:
        shot.left -= 1
        due = shot.left == 0 or (shot.always and shot.left < 0)
    if due:
        _fire(shot)
    return due


def _fire(shot: Shot) -> None:
    # By no logger: the next instruction may be the last.
    os.write(2, f"failpoint {shot.spec} fires\n".encode())
    match shot.action:
        case "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), shot.name)
        case "eio":
            raise OSError(errno.EIO, os.strerror(errno.EIO), shot.name)
        case "stop":
            # To this thread: it stands before the call returns.
            signal.raise_signal(signal.SIGSTOP)
        case _:
            signal.raise_signal(signal.SIGKILL)
