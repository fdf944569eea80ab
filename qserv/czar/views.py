"""Views: made, dropped and described; what a query then reads is the planner's matter.

A view is planned in a snapshot that does not have it: none can read itself, by whatever
way, nor a name that nobody knows. What others read is neither dropped nor replaced by
what they could not read. All of it happens between two commits, so that nothing changes
meanwhile and the numbers of snapshots come in order.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from qserv.catalog import system
from qserv.catalog.snapshot import Release, Snapshot
from qserv.catalog.store import Store
from qserv.catalog.tables import Column
from qserv.catalog.views import View
from qserv.czar.beginning import NAME
from qserv.czar.loads import Loads
from qserv.czar.preparation import Planning
from qserv.czar.results import LANGUAGE
from qserv.errors import (
    Conflict,
    InvalidRequest,
    QservError,
    UnknownName,
    UserError,
)
from qserv.telemetry import logger

_log = logger(__name__)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Described:
    """A view and what it shows.

    Parameters
    ----------
    release
        In the catalog's spelling.
    view
        As it was made.
    columns
        Of its rows; none where it cannot be read.
    trouble
        Why it cannot be read by this version of qserv; else empty.
    """

    release: str
    view: View
    columns: tuple[Column, ...]
    trouble: str = ""


class Views:
    """All views.

    Parameters
    ----------
    store
        The metadata.
    planning
        `qserv.plan`.
    loads
        The loads, which make snapshots too.
    """

    def __init__(self, *, store: Store, planning: Planning, loads: Loads) -> None:
        self._store = store
        self._planning = planning
        self._loads = loads
        self._changes: set[asyncio.Task[Any]] = set()

    async def create(
        self, release: str, view: View, *, replaces: bool = False
    ) -> Described:
        """Make a view.

        Parameters
        ----------
        release
            Where; it exists already.
        view
            What it is.
        replaces
            Whether it may take the place of a view of its name.

        Returns
        -------
        Described
            The view with its columns.

        Raises
        ------
        UserError
            If its text cannot be answered; says where and why.
        Conflict
            If its name is taken, or another view could not be read with it.
        """
        return await self.whole(self._create(release, view, replaces=replaces))

    async def drop(self, release: str, name: str) -> int:
        """Drop a view; return the snapshot from which on it is not there.

        Raises
        ------
        UnknownName
            If there is no such view.
        Conflict
            If another view reads it.
        """
        return await self.whole(self._drop(release, name))

    async def describe(
        self, snapshot: int | None = None, release: str | None = None
    ) -> tuple[Described, ...]:
        """Describe the views of a release, or of all, as they were at a snapshot."""
        return await asyncio.to_thread(self._describe, snapshot, release)

    async def close(self) -> None:
        """Wait for changes that are under way."""
        await asyncio.gather(*self._changes, return_exceptions=True)

    async def whole(self, change: Coroutine[Any, Any, _T]) -> _T:
        """Bring a change of the catalog to its end even if who asked for it is gone."""
        task = asyncio.create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def _create(self, release: str, view: View, *, replaces: bool) -> Described:
        async with self._loads.one_commit:
            system.check_release(release)
            snapshot = self._store.snapshot()
            home = snapshot.release(release)
            self._check_name(home, view.name, replaces=replaces)
            columns = await asyncio.to_thread(self._checked, snapshot, home, view)
            fresh = await asyncio.to_thread(self._store.create_view, home.name, view)
        _log.info("view created", view=_full(home, view), snapshot=fresh.id)
        return Described(home.name, replace(view, since=fresh.id), columns)

    async def _drop(self, release: str, name: str) -> int:
        async with self._loads.one_commit:
            system.check_release(release)
            snapshot = self._store.snapshot()
            home = snapshot.release(release)
            view = _known(home, name)
            await asyncio.to_thread(self._check_unread, snapshot, home, view)
            fresh = await asyncio.to_thread(self._store.drop_view, home.name, view.name)
        _log.info("view dropped", view=_full(home, view), snapshot=fresh.id)
        return fresh.id

    def _check_name(self, home: Release, name: str, *, replaces: bool) -> None:
        if not NAME.fullmatch(name):
            raise InvalidRequest(
                f"view {name!r}: a name is a letter, then letters, digits and _"
            )
        if name.lower() in home.tables:
            raise Conflict(f"{home.name}.{name} is a table: give the view another name")
        if name.lower() in home.views and not replaces:
            raise Conflict(
                f"view {home.name}.{name} exists: ask to replace it (--replace, "
                "replace=True), or give the new one another name"
            )
        if (load := self._loads.making(home.name, name)) is not None:
            raise Conflict(
                f"load {load} is making the table {home.name}.{name}: "
                "give the view another name"
            )

    def _checked(
        self, snapshot: Snapshot, home: Release, view: View
    ) -> tuple[Column, ...]:
        """Return the columns that a view will have.

        Raises
        ------
        UserError
            If it, or another with it, could not be read.
        """
        without, after = _without(snapshot, home, view), _with(snapshot, home, view)
        try:
            columns = self._columns(view.text, without, home)
        except UnknownName as error:
            if self._knows_more(view.text, after, home):
                raise InvalidRequest(
                    f"view {_full(home, view)} would read itself: "
                    f"in a snapshot without it, {error.text}"
                ) from error
            raise
        self._columns(f'SELECT * FROM "{view.name}"', after, home)
        for other, trouble in self.broken(snapshot, after):
            raise Conflict(
                f"view {other} reads {_full(home, view)} and could not be read with "
                f"this text: in view {other}: {trouble}; drop or replace {other} first"
            )
        return columns

    def _knows_more(self, text: str, after: Snapshot, home: Release) -> bool:
        """Whether all names of a text are known once its own view is there."""
        try:
            self._columns(text, after, home)
        except UnknownName:
            return False
        except UserError:
            # Whatever else is wrong with it, such as that it has no end.
            return True
        return True

    def _check_unread(self, snapshot: Snapshot, home: Release, view: View) -> None:
        after = _without(snapshot, home, view)
        for other, _ in self.broken(snapshot, after):
            raise Conflict(
                f"view {other} reads {_full(home, view)}: drop or replace {other} first"
            )

    def broken(self, before: Snapshot, after: Snapshot) -> Iterator[tuple[str, str]]:
        """Name the views that could be read before and cannot after, and say why."""
        for home in after.releases.values():
            for view in home.views.values():
                trouble = self._described(after, home, view).trouble
                if trouble and not self._described(before, home, view).trouble:
                    yield _full(home, view), trouble

    def _describe(
        self, number: int | None, release: str | None
    ) -> tuple[Described, ...]:
        snapshot = self._store.snapshot(number)
        homes = snapshot.releases.values()
        return tuple(
            self._described(snapshot, home, view)
            for home in (homes if release is None else [snapshot.release(release)])
            for view in home.views.values()
        )

    def _described(self, snapshot: Snapshot, home: Release, view: View) -> Described:
        try:
            columns = self._columns(view.text, snapshot, home)
        except QservError as error:
            return Described(home.name, view, (), error.text)
        return Described(home.name, view, columns)

    def _columns(
        self, text: str, snapshot: Snapshot, home: Release
    ) -> tuple[Column, ...]:
        plan = self._planning.plan(
            text,
            snapshot,
            language=LANGUAGE,
            default_release=home.name,
            frugal=False,
        )
        return plan.columns


def _known(home: Release, name: str) -> View:
    if (view := home.views.get(name.lower())) is not None:
        return view
    if name.lower() in home.tables:
        raise UnknownName(f"{home.name}.{name} is a table, not a view")
    views = ", ".join(view.name for view in home.views.values())
    raise UnknownName(
        f"release {home.name} has no view {name}; it has: {views or 'none'}"
    )


def _full(home: Release, view: View) -> str:
    return f"{home.name}.{view.name}"


def _with(snapshot: Snapshot, home: Release, view: View) -> Snapshot:
    return _changed(snapshot, home, {**home.views, view.name.lower(): view})


def _without(snapshot: Snapshot, home: Release, view: View) -> Snapshot:
    views = {k: v for k, v in home.views.items() if k != view.name.lower()}
    return _changed(snapshot, home, views)


def _changed(snapshot: Snapshot, home: Release, views: dict[str, View]) -> Snapshot:
    changed = {home.name.lower(): replace(home, views=views)}
    return replace(snapshot, releases={**snapshot.releases, **changed})
