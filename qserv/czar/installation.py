"""Makes a load durable on its workers, or has them forget it."""

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

import grpc.aio

from qserv.catalog.publication import HeldFile
from qserv.catalog.snapshot import EVERYWHERE, Family
from qserv.catalog.store import Store
from qserv.catalog.tables import Table
from qserv.czar.members import Members
from qserv.errors import ClusterError, QservError
from qserv.telemetry import logger
from qserv.wire.errors import from_rpc
from qserv.wire.messages import entry_to_proto
from qserv.wire.v1 import common_pb2, worker_pb2

_log = logger(__name__)

_PATIENCE: Final = 600.0
"""Seconds that a worker may take to install or discard one load."""


def family_workers(family: Family) -> list[str]:
    """Return the ids of all workers that hold anything of a family, sorted."""
    return sorted({w for workers in family.replicas.values() for w in workers})


def manifest(
    worker: str,
    *,
    release: str,
    table: Table,
    version: int,
    family: Family,
    files: Iterable[HeldFile],
) -> common_pb2.Manifest:
    """Return what a worker shall keep of a table at a version.

    Parameters
    ----------
    worker
        Its id.
    release, table, version, family
        What the manifest is of.
    files
        All files of the table that are live then, on whatever worker.
    """
    placed = [
        chunk
        for chunk, workers in family.replicas.items()
        if worker in workers and (chunk != EVERYWHERE) == table.partitioned
    ]
    return common_pb2.Manifest(
        release=release,
        table=table.name,
        version=version,
        tree_version=family.tree_version,
        entries=[entry_to_proto(f.entry) for f in files if worker in f.workers],
        chunks=placed,
    )


class Installation:
    """Calls the workers of a load.

    Parameters
    ----------
    store
        Knows the live files, and who has yet to forget what.
    members
        The workers.
    """

    def __init__(self, *, store: Store, members: Members) -> None:
        self._store = store
        self._members = members

    async def install(
        self,
        load: str,
        *,
        release: str,
        tables: Collection[Table],
        version: int,
        family: Family,
        files: Collection[HeldFile],
    ) -> tuple[HeldFile, ...]:
        """Have every worker of the family keep the new version of every table.

        Parameters
        ----------
        load
            Its id.
        release, tables, version, family
            What it loads into.
        files
            What it adds.

        Returns
        -------
        tuple of HeldFile
            `files`, valid from `version`.

        Raises
        ------
        QservError
            If a worker cannot; others may have.
        """
        fresh = tuple(
            replace(file, entry=replace(file.entry, validity=(version, None)))
            for file in files
        )
        live = {
            table.name: await asyncio.to_thread(self._store.files, release, table.name)
            for table in tables
        }
        for file in fresh:
            live[file.table] += (file,)
        calls = []
        for worker in family_workers(family):
            manifests = [
                manifest(
                    worker,
                    release=release,
                    table=table,
                    version=version,
                    family=family,
                    files=live[table.name],
                )
                for table in tables
            ]
            calls.append(self._install(worker, load, manifests))
        # All are waited for: nobody installs after it was told to forget.
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if outcome is not None:
                raise outcome
        return fresh

    async def _install(
        self, worker: str, load: str, manifests: list[common_pb2.Manifest]
    ) -> None:
        member = self._members.get(worker)
        request = worker_pb2.InstallRequest(transaction=load, manifests=manifests)
        try:
            await member.stub.Install(request, timeout=_PATIENCE)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, member.endpoint) from error

    async def forget(self, workers: Iterable[str]) -> None:
        """Have workers forget the aborted loads that they have not forgotten yet.

        A worker that does not answer is asked again when it joins.
        """
        await asyncio.gather(*(self._forget(worker) for worker in workers))

    async def _forget(self, worker: str) -> None:
        for load in await asyncio.to_thread(self._store.discards, worker):
            try:
                await self._discard(worker, load)
            except ClusterError as error:
                _log.warning(
                    "discard put off", worker=worker, load=load, why=str(error)
                )
                return
            except QservError as error:
                _log.error("discard refused", worker=worker, load=load, why=str(error))
            await asyncio.to_thread(self._store.discarded, load, worker)

    async def _discard(self, worker: str, load: str) -> None:
        member = self._members.get(worker)
        request = worker_pb2.DiscardRequest(transaction=load)
        try:
            await member.stub.Discard(request, timeout=_PATIENCE)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, member.endpoint) from error
