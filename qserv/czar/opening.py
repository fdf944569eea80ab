"""How a load begins: new, or in the place of a loader that fell silent.

A load of the same fingerprint goes on where its loader left it; one that is in the way
is waited for, or given up when its loader is silent for longer than the lease. Files
whose content is live already are named, so that nobody reads them again.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from qserv.catalog import loadstore
from qserv.catalog.provenance import Input, Load, Origin
from qserv.catalog.store import Store
from qserv.czar.beginning import Beginning, Content, Target, target
from qserv.czar.choosing import Placed
from qserv.czar.openload import OpenLoad, fresh, kept
from qserv.czar.registry import Registry
from qserv.czar.replacing import Replacing, is_same
from qserv.errors import Conflict, InvalidRequest
from qserv.failpoint import reached
from qserv.ingest import transaction as life
from qserv.ingest.events import Resume
from qserv.telemetry import logger
from qserv.wire.calls import Calls

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a file that a loader is about to read.

    Parameters
    ----------
    number
        What `_source` says in its rows.
    snapshot, load, source
        Not 0: its content is live since then, by that load, under that name.
    """

    number: int
    snapshot: int = 0
    load: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """The answer to a beginning.

    Parameters
    ----------
    transaction
        The load's id; empty where none began.
    target
        What it goes into.
    inputs
        Aligned with the request's.
    attempt
        Which loader in turn this is.
    resumed
        Whether it goes on in another's place.
    placed
        Where its files go, if that was decided before.
    snapshot
        Not 0: all inputs are live, there is nothing to do.
    wait
        Not 0: seconds after which to ask again, for another loader does the same.
    """

    transaction: str
    target: Target
    inputs: tuple[Known, ...] = ()
    attempt: int = 0
    resumed: bool = False
    placed: Placed | None = None
    snapshot: int = 0
    wait: float = 0.0


Outcome = Begun | Callable[[], Awaitable[object]]
"""An answer, or what to wait for before it is looked again."""


class Opening:
    """Begins loads, one at a time.

    Parameters
    ----------
    store
        The metadata.
    registry
        The loads under way.
    replicas
        Returns the copies of each chunk of a new family.
    lease
        Seconds of a loader's silence after which another may take its place.
    replacing
        Knows what a load may replace.
    abort
        Gives a load up, for a reason.
    calls
        Lets what is begun go on to its end.
    """

    def __init__(
        self,
        *,
        store: Store,
        registry: Registry,
        replicas: Callable[[], int],
        lease: float,
        replacing: Replacing,
        abort: Callable[[str, str], Awaitable[None]],
        calls: Calls,
    ) -> None:
        self._store = store
        self._registry = registry
        self._replicas = replicas
        self._lease = lease
        self._replacing = replacing
        self._abort = abort
        self._calls = calls
        self._one_at_a_time = asyncio.Lock()

    async def begin(self, asked: Beginning) -> Begun:
        """Begin a load, or go on with one; raises as `Loads.begin`."""
        while True:
            outcome = await self._calls.finish(self._look(asked))
            if isinstance(outcome, Begun):
                return outcome
            await outcome()
            # Time has passed: somebody else may have begun, or even committed.

    async def _look(self, asked: Beginning) -> Outcome:
        async with self._one_at_a_time:
            return await self._begin(asked)

    async def _begin(self, asked: Beginning) -> Outcome:
        """Begin; or return the commit to wait for; or None to look again."""
        asked = await self._replacing.resolved(asked)
        snapshot = self._store.snapshot()
        wanted = target(asked, snapshot, replicas=self._replicas())
        if not asked.dry_run:
            if (mine := self._same(asked)) is not None:
                return _ended(mine) or await self._go_on(mine, asked)
            if (other := self._in_the_way(asked, wanted)) is not None:
                return _ended(other) or partial(self._give_up, other)
        if not is_same(wanted, snapshot):
            # A commit came between the two looks at the metadata.
            return partial(asyncio.sleep, 0)
        await self._replacing.check(wanted, snapshot)
        live = await self._live(asked, wanted)
        if asked.dry_run:
            return Begun("", wanted, _known(asked, live, ()))
        loaded = asked.inputs and len(live) == len(_contents(asked, wanted))
        if loaded and not wanted.replaces:
            newest = max(origin.snapshot for origin in live.values())
            return Begun("", wanted, _known(asked, live, ()), snapshot=newest)
        return await self._open(asked, wanted, live)

    def _same(self, asked: Beginning) -> OpenLoad | None:
        for load in self._registry.open.values():
            if asked.fingerprint and load.asked.fingerprint == asked.fingerprint:
                return load
        return None

    async def _go_on(self, load: OpenLoad, asked: Beginning) -> Outcome:
        snapshot = self._store.snapshot()
        wanted = target(load.asked, snapshot, replicas=load.asked.replicas)
        async with load.one_call:
            left = self._lease - self._registry.silence(load)
            if left > 0 or load.commit or load.id not in self._registry.open:
                return _ended(load) or Begun("", wanted, wait=max(left, 0.1))
            numbered = [(each.table, each.sha256) for each in load.inputs.values()]
            live = await self._registry.origins(wanted.release, numbered)
            brought = wanted.staying(live)
            versions = {v.table.name: v.manifest_version for v in wanted.existing}
            same = versions == load.told and is_same(wanted, snapshot)
            # What the first try compared with the tables holds for those versions only.
            if not brought and same:
                return await self._resumed(load, asked, wanted)
        reason = "another load changed its tables, or brought some of its files"
        return partial(self._abort, load.id, reason)

    async def _resumed(self, load: OpenLoad, asked: Beginning, wanted: Target) -> Begun:
        resumed, _ = life.step(load.transaction, Resume())
        await self._registry.write(loadstore.change, load.id, attempt=resumed.attempt)
        reached("czar.resume.written")
        load.transaction, load.target = resumed, wanted
        load.heard = self._registry.now
        _log.info("load resumed", load=load.id, attempt=resumed.attempt)
        live = await self._live(asked, wanted)
        return Begun(
            transaction=load.id,
            target=wanted,
            inputs=_known(asked, live, tuple(load.inputs.values())),
            attempt=resumed.attempt,
            resumed=True,
            placed=load.placed,
        )

    def _in_the_way(self, asked: Beginning, wanted: Target) -> OpenLoad | None:
        """Return a load that cannot go on beside the new one; refuse if it lives."""
        contents = _contents(asked, wanted)
        for load in self._registry.open.values():
            if not (why := _conflict(load, wanted, contents)):
                continue
            silence = self._registry.silence(load)
            if silence < self._lease and load.commit is None:
                raise Conflict(
                    f"load {load.id} of release {load.target.release} (family "
                    f"{load.target.layout.family}) is under way by "
                    f"{load.asked.who or 'somebody'}, last heard of {silence:.0f} s "
                    f"ago, and {why}: wait for it, or end it with qserv loads abort "
                    f"{load.id}; it gives way once it is silent for {self._lease:.0f} s"
                )
            return load
        return None

    async def _give_up(self, load: OpenLoad) -> None:
        silence = self._registry.silence(load)
        # Two that wait for it may both find it silent.
        if silence >= self._lease and load.id in self._registry.open:
            await self._abort(load.id, f"its loader was silent for {silence:.0f} s")

    async def _live(self, asked: Beginning, wanted: Target) -> dict[Content, Origin]:
        """Return the contents that are live, and stay so."""
        contents = sorted(_contents(asked, wanted))
        return wanted.staying(await self._registry.origins(wanted.release, contents))

    async def _open(
        self, asked: Beginning, wanted: Target, live: dict[Content, Origin]
    ) -> Begun:
        begun = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        number = f"{begun}-{secrets.token_hex(3)}"
        load = fresh(number, asked, wanted, self._registry.now)
        record = Load(
            id=number,
            release=wanted.release,
            family=wanted.layout.family,
            who=asked.who,
            pipeline=asked.pipeline,
            configuration=asked.configuration,
            input_ids=asked.input_ids,
            tables=load.transaction.tables,
            replaced=tuple(each.table for each in wanted.replaces if each.version),
        )
        inputs = [
            Input(0, load.spelling(source.table), source.name, source.sha256)
            for source in asked.inputs
            if (load.spelling(source.table), source.sha256) not in live
        ]
        reached("czar.begin.checked")
        # Known from here on, so that nobody begins another beside it.
        self._registry.open[number] = load
        try:
            kept_load = kept(load, inputs)
            load.take(await self._registry.write(loadstore.begin, record, kept_load))
        except BaseException:
            del self._registry.open[number]
            raise
        reached("czar.begin.written")
        _log.info("load begun", load=number, release=wanted.release)
        known = _known(asked, live, tuple(load.inputs.values()))
        return Begun(number, wanted, known, attempt=1)


def _ended(load: OpenLoad) -> Callable[[], Awaitable[object]] | None:
    """Return how to wait for the end of a load that is being committed."""
    return partial(asyncio.wait, [load.commit]) if load.commit else None


def _spelled(wanted: Target) -> dict[str, str]:
    return {table.name.lower(): table.name for table in wanted.tables}


def _contents(asked: Beginning, wanted: Target) -> set[Content]:
    spelled = _spelled(wanted)
    try:
        return {(spelled[s.table.lower()], s.sha256) for s in asked.inputs}
    except KeyError as error:
        raise InvalidRequest(
            f"a load reads files of table {error.args[0]}, which it does not name"
        ) from None


def _conflict(load: OpenLoad, wanted: Target, contents: set[Content]) -> str:
    """Say why two loads cannot be under way at a time; empty if they can."""
    mine, other = load.target, wanted
    one_family = mine.layout.family.lower() == other.layout.family.lower()
    one_release = mine.release.lower() == other.release.lower()
    if one_family and not other.layout.cut:
        return "decides how the family's sky is cut"
    if one_release and not one_family:
        return "makes the release in another family"
    if one_release and not contents.isdisjoint(
        (each.table, each.sha256) for each in load.inputs.values()
    ):
        return "reads some of the same files"
    if one_release and (name := _replaced(mine, other) or _replaced(other, mine)):
        return f"one of the two replaces the table {name}, which the other needs"
    return ""


def _replaced(one: Target, other: Target) -> str:
    """Return the name of a table that one load replaces and another needs."""
    return next((r.table for r in one.replaces if other.needs(r.table)), "")


def _known(
    asked: Beginning, live: dict[Content, Origin], inputs: Sequence[Input]
) -> tuple[Known, ...]:
    """Say of each input where it is live, or which number it has."""
    by_table = {(table.lower(), content): at for (table, content), at in live.items()}
    numbers = {
        (each.table.lower(), each.source, each.sha256): each.number for each in inputs
    }
    known = []
    for source in asked.inputs:
        table = source.table.lower()
        number = numbers.get((table, source.name, source.sha256), 0)
        origin = by_table.get((table, source.sha256))
        known.append(
            Known(origin.number, origin.snapshot, origin.load, origin.source)
            if origin and not number
            else Known(number)
        )
    return tuple(known)
