"""Makes a query ready to run: its plan, the homes of its keys, its chunks."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qserv.catalog.snapshot import Snapshot
from qserv.catalog.store import Store
from qserv.czar.keys import Resolver
from qserv.czar.members import Members
from qserv.czar.results import Request, Steps
from qserv.plan.cost import Cost
from qserv.plan.explain import Happened
from qserv.plan.plan import (
    FoundRestrictor,
    Fragment,
    KeyedRestrictor,
    Plan,
    Route,
    keyed,
)

_LONG: Final = 4_000
"""Characters of a query from which on it is planned in a thread, and forgotten."""

_Asked = tuple[str, str, str | None, int, bool]

_PLANS: Final = 256
"""Plans that are kept for texts that come again."""


class Planning(Protocol):
    """The pure part of answering: what `qserv.plan` does."""

    def plan(
        self,
        text: str,
        snapshot: Snapshot,
        *,
        language: str,
        default_release: str | None,
        frugal: bool,
    ) -> Plan:
        """Turn a text into a plan; a frugal one keeps what it can off the czar."""
        ...

    def route(
        self,
        sent: Fragment,
        snapshot: Snapshot,
        homes: Mapping[KeyedRestrictor, npt.NDArray[np.int64]],
    ) -> Route:
        """Turn a fragment's restrictors into chunks."""
        ...

    def cost(
        self, plan: Plan, routes: Mapping[int, Route], *, workers: int, cores: int
    ) -> Cost:
        """Estimate what a plan costs."""
        ...

    def explain(
        self,
        plan: Plan,
        routes: Mapping[int, Route],
        happened: Mapping[int, Happened] | None,
        *,
        workers: int,
        cores: int,
    ) -> str:
        """Print what would be done, and what was."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """A query that is ready to run.

    Parameters
    ----------
    request, snapshot, plan
        What is asked, of what, and how it is answered.
    routes
        Stage number -> where it runs, for the fragments that need no earlier stage to
        know it.
    """

    request: Request
    snapshot: Snapshot
    plan: Plan
    routes: Mapping[int, Route]

    @property
    def chunks(self) -> int:
        """How many chunks it reads, as far as that is known."""
        return sum(int(route.chunks.size) for route in self.routes.values())

    @property
    def read(self) -> tuple[int, int]:
        """How many chunks the answer reads, at most, and of how many.

        Of the last fragment over a chunk tree: those before it look things up.
        """
        stages = enumerate(self.plan.stages)
        sent = [(k, s) for k, s in stages if isinstance(s, Fragment)]
        over = [(k, s) for k, s in sent if s.family is not None]
        for number, last in reversed(over or sent):
            if (route := self.routes.get(number)) is not None:
                return int(route.chunks.size), route.of
            tree = self.snapshot.families[last.family].tree if last.family else ()
            return len(tree), len(tree)
        return 0, 0


class Preparation:
    """Makes queries ready to run.

    Parameters
    ----------
    store
        Gives the snapshots.
    members
        The workers, which hold the director indexes.
    planning
        `qserv.plan`.
    max_rows
        Rows after which any result is cut; None: never.
    """

    def __init__(
        self,
        *,
        store: Store,
        members: Members,
        planning: Planning,
        max_rows: int | None,
    ) -> None:
        self._store = store
        self._members = members
        self._resolver = Resolver(members)
        self._planning = planning
        self._max_rows = max_rows
        self._plans: OrderedDict[_Asked, Plan] = OrderedDict()

    def most(self, request: Request) -> int | None:
        """Return the rows after which the result is cut; None: never."""
        limits = [n for n in (request.max_rows, self._max_rows) if n is not None]
        return min(limits, default=None)

    async def prepare(
        self, request: Request, steps: Steps, *, frugal: bool = False
    ) -> Work:
        """Plan and route a query.

        Parameters
        ----------
        request
            The query.
        steps
            Told when a step is done.
        frugal
            Whether rows stay among the workers however few they are expected to be.

        Raises
        ------
        UserError
            If the query cannot be planned.
        WorkerUnavailable
            If nobody knows the homes of its keys.
        """
        snapshot = await self._snapshot(request.snapshot)
        plan = await self._planned(request, snapshot, frugal=frugal)
        steps.done("plan")
        routes = {
            number: await self.route(stage, snapshot, {})
            for number, stage in enumerate(plan.stages)
            if isinstance(stage, Fragment) and not _waits(stage)
        }
        steps.done("route")
        return Work(request, snapshot, plan, routes)

    async def route(
        self, sent: Fragment, snapshot: Snapshot, found: Mapping[int, pa.Table]
    ) -> Route:
        """Choose the chunks that a fragment runs on.

        Parameters
        ----------
        sent
            The fragment.
        snapshot
            The one that it was planned against.
        found
            The rows of the earlier stages that restrict it, by number.

        Raises
        ------
        WorkerUnavailable
            If nobody knows the homes of its keys.
        """
        homes = await self._resolver.resolve(keyed(sent.restrictors), snapshot, found)
        return self._planning.route(sent, snapshot, homes)

    def explain(
        self, work: Work, happened: Mapping[int, Happened] | None = None
    ) -> str:
        """Print what would be done with a query; and what was, if it has run."""
        plan, routes, (workers, cores) = work.plan, work.routes, self._power()
        return self._planning.explain(
            plan, routes, happened, workers=workers, cores=cores
        )

    def cost(self, work: Work) -> Cost:
        """Estimate what a query costs with the workers that are alive."""
        plan, routes, (workers, cores) = work.plan, work.routes, self._power()
        return self._planning.cost(plan, routes, workers=workers, cores=cores)

    def _power(self) -> tuple[int, int]:
        alive = self._members.alive.values()
        cores = sum(max(1, member.threads) for member in alive)
        return max(1, len(alive)), max(1, cores)

    async def _snapshot(self, number: int | None) -> Snapshot:
        newest = self._store.snapshot()
        if number is None or number == newest.id:
            return newest
        return await asyncio.to_thread(self._store.snapshot, number)

    async def _planned(
        self, request: Request, snapshot: Snapshot, *, frugal: bool
    ) -> Plan:
        """Return the plan of a text, the same as before at the same snapshot."""
        words = (request.text, request.language, request.default_release)
        asked = (*words, snapshot.id, frugal)
        if (known := self._plans.get(asked)) is not None:
            self._plans.move_to_end(asked)
            return known
        plan = await self._plan(request, snapshot, frugal=frugal)
        if len(request.text) < _LONG:
            self._plans[asked] = plan
        if len(self._plans) > _PLANS:
            self._plans.popitem(last=False)
        return plan

    async def _plan(
        self, request: Request, snapshot: Snapshot, *, frugal: bool
    ) -> Plan:
        def plan() -> Plan:
            return self._planning.plan(
                request.text,
                snapshot,
                language=request.language,
                default_release=request.default_release,
                frugal=frugal,
            )

        if len(request.text) < _LONG:
            return plan()
        return await asyncio.to_thread(plan)


def _waits(sent: Fragment) -> bool:
    """Whether only the rows of an earlier stage tell where a fragment runs."""
    return any(isinstance(each, FoundRestrictor) for each in keyed(sent.restrictors))
