"""What the czar does about copies that a worker says it lacks.

Every sign of life of a worker names the files that it should have and has not. So the
metadata follows the disks whatever was missed: a copy that is named is in quarantine, a
copy that is not named any more is live again.
"""

import asyncio
from collections.abc import Callable, Sequence

from qserv.catalog import damagestore
from qserv.catalog.damagestore import Damaged, moment
from qserv.catalog.store import Store
from qserv.telemetry import logger
from qserv.wire.v1 import common_pb2

_log = logger(__name__)


class Damage:
    """Takes note of bad copies.

    Parameters
    ----------
    store
        The metadata.
    changed
        Called when copies went into quarantine: they are to be repaired.
    """

    def __init__(
        self, *, store: Store, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._changed = changed
        self._told: dict[str, frozenset[str]] = {}
        self._lock = asyncio.Lock()

    async def told(
        self, worker: str, files: Sequence[common_pb2.DamagedFile], total: int
    ) -> None:
        """Take in what a worker lacks.

        Parameters
        ----------
        worker
            Its id.
        files
            What it lacks, or the first of it.
        total
            How much it lacks.
        """
        paths = frozenset(file.path for file in files)
        if self._told.get(worker) == paths:
            return
        async with self._lock:
            found = [
                Damaged(worker, file.path, moment(file.found), file.reason)
                for file in files
            ]
            whole = total <= len(files)
            fresh, again = await asyncio.to_thread(self._write, worker, found, whole)
            self._told[worker] = paths
        for each in fresh:
            _log.error(
                "a copy is damaged", worker=worker, file=each.path, reason=each.reason
            )
        for path in again:
            _log.info("a damaged copy is there again", worker=worker, file=path)
        if fresh:
            self._changed()

    def _write(
        self, worker: str, found: list[Damaged], whole: bool
    ) -> tuple[list[Damaged], list[str]]:
        tables, again = self._store.tables, []
        with self._store.writing() as connection:
            fresh = damagestore.quarantine(connection, tables, found)
            # Of a list that is cut, nothing is known of what it does not name.
            if whole:
                still = {each.path for each in found}
                again = damagestore.restore(connection, tables, worker, still)
        if fresh or again:
            self._store.refreshed()
        return fresh, again
