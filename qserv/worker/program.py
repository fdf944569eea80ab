"""The worker's program: everything put together, from start to a clean end."""

import asyncio
import fcntl
import shutil
import signal
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import numpy as np

from qserv.config import WorkerConfig
from qserv.errors import Conflict, TaskFailed
from qserv.ingest.receiver import Receiver
from qserv.sky.ranges import RangeSet
from qserv.sky.regions import dilate
from qserv.storage.durable import make_directory
from qserv.storage.format import settle
from qserv.storage.inventory import Inventory
from qserv.storage.layout import WorkerDirectory
from qserv.storage.manifests import ManifestStore
from qserv.storage.quarantine import Quarantine
from qserv.storage.room import Room
from qserv.storage.verified import VerifiedLog
from qserv.telemetry import logger
from qserv.wire.channel import start_server
from qserv.wire.v1.worker_pb2_grpc import add_WorkerServicer_to_server
from qserv.worker.copying import Copier
from qserv.worker.damage import Damages
from qserv.worker.disk import Disk
from qserv.worker.engine import Settings
from qserv.worker.executors import Executor
from qserv.worker.integrity import Integrity
from qserv.worker.lookup import KeyIndex
from qserv.worker.membership import Membership
from qserv.worker.peers import Peers
from qserv.worker.pool import Pool
from qserv.worker.remembering import Remembering
from qserv.worker.scrub import Scrub
from qserv.worker.service import WorkerService

__all__ = ["run"]

_GRACE: Final = 1.0
_BUSY_SECONDS: Final = 2.0
"""After a start, in which there is enough else to do."""

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class _Guard:
    """What knows which files are good."""

    manifests: ManifestStore
    inventory: Inventory
    damages: Damages
    scrub: Scrub
    integrity: Integrity

    def look(self) -> None:
        """Find what is missing."""
        self.damages.look(self.scrub.files())

    async def watch(self, stop: asyncio.Event) -> None:
        """Read all files now and then, until `stop`."""
        await self.scrub.run()
        await stop.wait()


async def run(config: WorkerConfig, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Parameters
    ----------
    config
        Settings.
    ready
        Called with ``host:port`` as soon as the worker answers there.

    Raises
    ------
    Conflict
        If another process uses the directory.
    InvalidRequest
        If the address cannot be listened on, a czar is of another cluster, or a newer
        qserv wrote the directory.
    TaskFailed
        If its executors cannot be kept running.
    """
    directory = WorkerDirectory(config.directory.resolve())
    with _stopped_by_signal() as stop, _locked(directory):
        _prepare(directory)
        settings = (_settings(config, directory, n) for n in range(config.executors))
        pool = Pool([Executor(of_one) for of_one in settings])
        await pool.start()
        try:
            await _serve(config, directory, pool, ready, stop)
        finally:
            await pool.stop()
    _log.info("stopped")


async def _serve(
    config: WorkerConfig,
    directory: WorkerDirectory,
    pool: Pool,
    ready: Callable[[str], None],
    stop: asyncio.Event,
) -> None:
    room = Room(directory.root, config.disk_reserve)
    guard = _guard(config, directory, room)
    manifests = guard.manifests
    receiver = Receiver(directory=directory, manifests=manifests, room=room)
    remembering = Remembering(directory, room)
    peers = Peers()
    copier = Copier(
        directory=directory,
        manifests=manifests,
        receiver=receiver,
        peers=peers,
        room=room,
    )
    threads = config.executors * config.threads
    service = WorkerService(
        directory=directory,
        manifests=manifests,
        integrity=guard.integrity,
        index=KeyIndex(data=directory.data, inventory=guard.inventory),
        receiver=receiver,
        copier=copier,
        remembering=remembering,
        pool=pool,
        disk=Disk(directory.spool, limit=config.spool_bytes),
        peers=peers,
        batch_bytes=config.batch_bytes,
        batch_chunks=config.batch_chunks,
        executors=config.executors,
        threads=threads,
    )

    async def joined(worker_id: str, ended: Collection[str]) -> None:
        service.worker_id = room.worker = worker_id
        await receiver.forget(ended)

    server, port = await start_server(
        config.host,
        config.port,
        lambda server: add_WorkerServicer_to_server(service, server),
        allow_remote=config.allow_remote,
    )
    endpoint = f"{config.host}:{port}"
    membership = Membership(
        directory=directory,
        endpoint=endpoint,
        version=version("qserv"),
        threads=threads,
        joined=joined,
        staged=lambda: directory.transactions,
        remembered=remembering.snapshot,
        disk=lambda: (room.free, room.total),
        damaged=guard.damages.told,
    )
    try:
        ready(endpoint)
        # A czar takes what is not told to be missing for being there.
        await asyncio.to_thread(guard.look)
        joins = [membership.keep_joined(czar) for czar in config.czars]
        await _until(stop, pool, [*joins, _warm(stop), guard.watch(stop)])
    finally:
        await server.stop(_GRACE)
        await asyncio.to_thread(guard.scrub.close)
        await peers.close()


def _guard(config: WorkerConfig, directory: WorkerDirectory, room: Room) -> _Guard:
    """Put together what knows which files are good."""
    quarantine = Quarantine(directory.quarantine)
    manifests = ManifestStore(directory, quarantine)
    damages = Damages(
        data=directory.data, quarantine=quarantine, listed=manifests.lists
    )
    inventory = Inventory(
        directory.data,
        log=VerifiedLog(directory.verified),
        quarantine=quarantine,
        damaged=damages.add,
        trusted_for=2 * config.verify_age,
    )
    scrub = Scrub(
        directory=directory,
        manifests=manifests,
        inventory=inventory,
        damages=damages,
        rate=config.scrub_bytes_per_second,
        age=config.verify_age,
    )
    integrity = Integrity(
        directory=directory,
        manifests=manifests,
        inventory=inventory,
        damages=damages,
        scrub=scrub,
        room=room,
    )
    return _Guard(manifests, inventory, damages, scrub, integrity)


async def _warm(stop: asyncio.Event) -> None:
    """Load healpy, which takes a second or more, before the first halo needs it."""
    await asyncio.sleep(_BUSY_SECONDS)
    await asyncio.to_thread(dilate, RangeSet.from_pixels(0, np.array([0])), 1.0)
    await stop.wait()


async def _until(
    stop: asyncio.Event, pool: Pool, joins: list[Coroutine[Any, Any, None]]
) -> None:
    waits = (stop.wait(), pool.broken.wait(), *joins)
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        if pool.broken.is_set():
            raise TaskFailed("an executor process died and cannot be started again")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _stopped_by_signal() -> Iterator[asyncio.Event]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _settings(
    config: WorkerConfig, directory: WorkerDirectory, number: int
) -> Settings:
    return Settings(
        data=str(directory.data),
        # DuckDB's temporary files have the same names in every process.
        spill=str(directory.spill / str(number)),
        threads=config.threads,
        memory=config.memory,
        room=config.spill_bytes,
    )


def _prepare(directory: WorkerDirectory) -> None:
    settle(directory)
    # What a killed executor had spilled is of no use to anybody.
    shutil.rmtree(directory.spill, ignore_errors=True)
    for path in (
        directory.data,
        directory.staging,
        directory.manifests,
        directory.spill,
    ):
        make_directory(path)


@contextmanager
def _locked(directory: WorkerDirectory) -> Iterator[None]:
    make_directory(directory.root)
    with directory.lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"another worker uses the directory {directory.root}; stop it, or give "
                "this one another --dir"
            ) from None
        yield
