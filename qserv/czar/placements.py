"""What an operator says of workers and copies: drain, readmit, give up, how many."""

import asyncio
from collections import defaultdict
from typing import Final

from qserv.catalog import copystore
from qserv.catalog.snapshot import Family
from qserv.catalog.store import Store
from qserv.catalog.workerstore import WorkerState
from qserv.czar.holdings import File
from qserv.czar.members import Members
from qserv.czar.repair import Repair
from qserv.czar.replication import only_copies
from qserv.errors import Conflict, InvalidRequest, UnknownName, WorkerUnavailable

_NAMED: Final = 20
"""Chunks of a table that a message names; of more it says how many they are."""


class Placements:
    """Changes where chunks shall lie; the copies follow in the background.

    Parameters
    ----------
    store, members
        The metadata, the workers.
    repair
        Makes and drops copies.
    """

    def __init__(self, *, store: Store, members: Members, repair: Repair) -> None:
        self._store = store
        self._members = members
        self._repair = repair

    async def drain(self, worker: str) -> str:
        """Have others take over what a worker holds.

        Raises
        ------
        UnknownName
            If there is no such worker.
        Conflict
            If it is lost, or the others are too few.
        """
        self._check(worker)
        if self._members.state(worker) is WorkerState.LOST:
            raise Conflict(f"worker {worker} was given up for lost: nothing is on it")
        left = self._members.placeable.keys() - {worker}
        for family in self._store.snapshot().families.values():
            if len(left) < family.copies:
                raise Conflict(
                    f"family {family.name} wants {family.copies} copies of each chunk, "
                    f"and without {worker} only {len(left)} workers could hold them: "
                    "start another worker first, or ask for fewer copies with `qserv "
                    f"placement replicas {family.name} {max(1, len(left))}`"
                )
        await self._members.set_state(worker, WorkerState.DRAINING)
        self._repair.wake()
        return (
            f"worker {worker} is drained: others copy what it holds, then it drops it; "
            "`qserv placement show` tells when nothing is left"
        )

    async def readmit(self, worker: str) -> str:
        """Let a worker that was drained or given up hold chunks again.

        Raises
        ------
        UnknownName
            If there is no such worker.
        """
        self._check(worker)
        await self._members.set_state(worker, WorkerState.ACTIVE)
        self._repair.wake()
        return f"worker {worker} holds chunks again, as soon as it answers"

    async def lost(self, worker: str, *, force: bool = False) -> str:
        """Give a worker up: what it had is made again from other copies.

        Parameters
        ----------
        worker
            Its id.
        force
            Even if it is alive, or has the only copy of something.

        Raises
        ------
        UnknownName
            If there is no such worker.
        Conflict
            If it is alive; or if rows would be lost: says of which tables and chunks.
        """
        self._check(worker)
        if worker in self._members.alive and not force:
            raise Conflict(
                f"worker {worker} is alive: drain it, so that nothing is lost; or "
                "stop it first, or use --force"
            )
        state = (await self._repair.known()).state
        told = _named(only_copies(state, worker))
        if told and not force:
            raise Conflict(
                f"worker {worker} has the only copy of: {told}. Bring it back, or give "
                "these rows up with --force"
            )
        await self._members.set_state(worker, WorkerState.LOST)
        self._members.lost(
            worker, WorkerUnavailable(f"worker {worker} was given up for lost")
        )
        self._repair.wake()
        said = f"worker {worker} is given up: its copies are made again elsewhere"
        return f"{said}; lost for good: {told}" if told else said

    async def replicas(self, family: str, copies: int) -> str:
        """Change how many workers hold each chunk of a family.

        Raises
        ------
        UnknownName
            If there is no such family.
        InvalidRequest
            If there are not so many workers.
        """
        found = self._family(family)
        able = len(self._members.placeable)
        if not 1 <= copies <= max(1, able):
            raise InvalidRequest(
                f"{copies} copies need as many workers that take chunks, and there are "
                f"{able}: start more, or ask for 1 to {max(1, able)}"
            )

        def write() -> None:
            with self._store.writing() as connection:
                copystore.set_copies(connection, self._store.tables, found.name, copies)
            self._store.refreshed()

        await asyncio.to_thread(write)
        self._repair.wake()
        return (
            f"family {found.name} gets {copies} copies of each chunk, not "
            f"{found.copies}; `qserv placement show` tells how far it is"
        )

    def _family(self, name: str) -> Family:
        families = self._store.snapshot().families
        for family in families.values():
            if family.name.lower() == name.lower():
                return family
        known = ", ".join(sorted(families)) or "none"
        raise UnknownName(f"there is no family {name}; there are: {known}")

    def names(self, family: str) -> set[str] | None:
        """Return the names of the families asked for; None for all.

        Raises
        ------
        UnknownName
            If there is no such family.
        """
        return {self._family(family).name} if family else None

    def _check(self, worker: str) -> None:
        if worker not in (known := self._members.known):
            names = ", ".join(sorted(known)) or "none"
            raise UnknownName(f"there is no worker {worker}; there are: {names}")


def _named(files: list[File]) -> str:
    """Say of which tables and chunks files are."""
    chunks: defaultdict[str, set[int]] = defaultdict(set)
    for file in files:
        release, table, *_ = file.path.split("/")
        chunks[f"{release}.{table}"].add(file.unit.chunk)
    return "; ".join(
        f"table {table}, {_numbers(sorted(found))}"
        for table, found in sorted(chunks.items())
    )


def _numbers(chunks: list[int]) -> str:
    first = ", ".join(map(str, chunks[:_NAMED]))
    more = f" and {len(chunks) - _NAMED} more" if len(chunks) > _NAMED else ""
    return f"chunk{'s' if len(chunks) > 1 else ''} {first}{more}"
