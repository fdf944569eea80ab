"""The program of a czar: everything assembled, served until it is told to stop."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from qserv.catalog.snapshot import Snapshot
from qserv.catalog.store import Store
from qserv.config import CzarConfig
from qserv.czar.admission import Admission, Limits
from qserv.czar.damage import Damage
from qserv.czar.dropping import Dropping
from qserv.czar.executive import Executive
from qserv.czar.expiry import Expiry
from qserv.czar.installation import Installation
from qserv.czar.loads import Loads
from qserv.czar.members import Members
from qserv.czar.merge import Merge
from qserv.czar.placements import Placements
from qserv.czar.preparation import Preparation
from qserv.czar.queries import Queries
from qserv.czar.remembrance import Remembrance
from qserv.czar.repair import Repair
from qserv.czar.repair import Settings as RepairSettings
from qserv.czar.session import Session
from qserv.czar.system import System
from qserv.czar.views import Views
from qserv.faces.rpc.service import CzarService
from qserv.plan import cost, explain, planner, route
from qserv.plan.limits import Sizes
from qserv.plan.plan import Plan
from qserv.sky.regions import Circle
from qserv.telemetry import logger
from qserv.wire.channel import start_server
from qserv.wire.v1.czar_pb2_grpc import add_CzarServicer_to_server

_log = logger(__name__)

_SPILL: Final = "spill"
_GRACE: Final = 5.0
"""Seconds that running calls have to end when the czar stops."""


async def run(config: CzarConfig, *, ready: Callable[[str], None]) -> None:
    """Run a czar until SIGTERM or SIGINT.

    Parameters
    ----------
    config
        Its settings.
    ready
        Called with ``host:port`` once it serves.

    Raises
    ------
    Conflict
        If another czar holds its directory.
    InvalidRequest
        If it cannot listen where it was told to.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(config, replaced=stop.set) as endpoint:
        ready(endpoint)
        await stop.wait()
        _log.info("czar stops")


@asynccontextmanager
async def serving(
    config: CzarConfig, *, replaced: Callable[[], None] = lambda: None
) -> AsyncIterator[str]:
    """Serve in the block; gives ``host:port``.

    `replaced` is called when a newer czar has taken over.
    """
    async with AsyncExitStack() as stack:
        service = await _assemble(config, stack, replaced)
        server, port = await start_server(
            config.host,
            config.port,
            lambda server: add_CzarServicer_to_server(service, server),
            allow_remote=config.allow_remote,
        )
        stack.push_async_callback(server.stop, _GRACE)
        endpoint = f"{config.host}:{port}"
        _log.info("czar serves", endpoint=endpoint)
        yield endpoint


class _Planner:
    """`qserv.plan` as the session sees it.

    Parameters
    ----------
    config
        What it says of memory decides which rows stay among the workers.
    """

    def __init__(self, config: CzarConfig) -> None:
        # DuckDB needs room beside the rows that it merges.
        self._sizes = Sizes(config.broadcast_memory, config.merge_memory / 2)

    def plan(
        self,
        text: str,
        snapshot: Snapshot,
        *,
        language: str,
        default_release: str | None,
        frugal: bool,
    ) -> Plan:
        """Turn a text into a plan."""
        return planner.plan(
            text,
            snapshot,
            language=language,
            default_release=default_release,
            sizes=Sizes(0, 0) if frugal else self._sizes,
        )

    route = staticmethod(route.route)
    cost = staticmethod(cost.cost)
    explain = staticmethod(explain.explain)


def _limits(config: CzarConfig) -> Limits:
    return Limits(
        interactive=config.max_interactive_queries,
        scans=config.max_scan_queries,
        waiting=config.max_waiting_queries,
        rows=config.max_estimated_rows,
        size=config.max_estimated_bytes,
        seconds=config.max_estimated_seconds,
    )


def _warm_sky() -> None:
    # The first cover loads healpy, which takes up to a second: nobody waits for it.
    Circle(0.0, 0.0, 1.0).cover()


def _replaced(tell: Callable[[], None]) -> Callable[["asyncio.Task[None]"], None]:
    def ended(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()):
            _log.error("czar stops", why=str(error))
            tell()

    return ended


async def _assemble(
    config: CzarConfig, stack: AsyncExitStack, replaced: Callable[[], None]
) -> CzarService:
    """Make all parts of a czar; the stack takes them apart in reverse order."""
    store = await asyncio.to_thread(Store.open, config.directory, config.metadata)
    stack.callback(store.close)
    members = Members(store=store, dead_after=config.dead_after)
    stack.push_async_callback(members.close)
    watch = asyncio.create_task(members.watch())
    stack.callback(watch.cancel)
    merge = Merge(
        directory=config.directory / _SPILL,
        threads=config.merge_threads,
        memory=config.merge_memory,
        spill=config.merge_spill,
    )
    stack.callback(merge.close)
    await asyncio.gather(merge.warm(), asyncio.to_thread(_warm_sky))
    executive = Executive(members=members)
    stack.push_async_callback(executive.close)
    remembrance = Remembrance(store=store, members=members)
    installation = Installation(store=store, members=members)
    installation.remember = remembrance.remember
    remembering = asyncio.create_task(remembrance.run())
    remembering.add_done_callback(_replaced(replaced))
    stack.callback(remembering.cancel)
    loads = Loads(
        store=store,
        members=members,
        installation=installation,
        replicas=config.replicas,
        lease=config.load_lease,
        grace=config.dead_after + config.join_interval,
        expiry=config.load_expiry,
    )
    planning = _Planner(config)
    views = Views(store=store, planning=planning, loads=loads)
    loads.replacing.broken = views.broken
    await loads.recover()
    stack.push_async_callback(loads.close)
    expiring = asyncio.create_task(Expiry(loads=loads).run())
    expiring.add_done_callback(_replaced(replaced))
    stack.callback(expiring.cancel)
    stack.push_async_callback(views.close)
    dropping = Dropping(
        store=store, loads=loads, views=views, installation=installation
    )
    session = Session(
        preparation=Preparation(
            store=store,
            members=members,
            planning=planning,
            max_rows=config.max_rows,
        ),
        members=members,
        executive=executive,
        merge=merge,
        system=System(store=store, memory=merge.memory),
        queries=Queries(timeout=config.query_timeout),
        epoch=store.epoch,
        broadcast_memory=config.broadcast_memory,
        admission=Admission(_limits(config)),
        max_result_bytes=config.max_result_bytes,
    )
    repair = Repair(
        store=store,
        members=members,
        one_commit=loads.one_commit,
        busy=lambda: loads.families,
        running=lambda: {query.id for query in session.running},
        settings=RepairSettings(
            bytes_per_second=config.repair_bytes_per_second,
            workers=config.repair_workers,
            interval=config.repair_interval,
        ),
    )
    stack.push_async_callback(repair.close)
    repairing = asyncio.create_task(repair.run())
    repairing.add_done_callback(_replaced(replaced))
    stack.callback(repairing.cancel)
    service = CzarService(
        session=session,
        loads=loads,
        views=views,
        dropping=dropping,
        installation=installation,
        damage=Damage(store=store, changed=repair.wake),
        members=members,
        repair=repair,
        placements=Placements(store=store, members=members, repair=repair),
        store=store,
        interval=config.join_interval,
        lease=config.load_lease,
    )
    stack.push_async_callback(service.close)
    return service
