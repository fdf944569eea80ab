"""Checks rows of a table and finds the home of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qserv.catalog.tables import Table, TableKind
from qserv.errors import BadContribution
from qserv.ingest import check
from qserv.ingest.partition import Located
from qserv.ingest.rejects import Reject
from qserv.ingest.rows import Flags, Rows
from qserv.sky import healpix

Integers = npt.NDArray[np.int64]
Item = TypeVar("Item", bound=np.generic)


class Homes(Protocol):
    """Knows the homes of some directors."""

    def homes(self, keys: pa.Array) -> Integers:
        """Return the home of each key (int64 or string), -1 where it is not known."""


@dataclass(frozen=True, slots=True)
class Found:
    """What became of some rows.

    Parameters
    ----------
    located
        Those that are good, with homes.
    rows
        The same, with where they came from.
    rejects
        The others.
    wrapped
        How many right ascensions were wrapped in each input file, where any was.
    """

    located: Located
    rows: Rows
    rejects: tuple[Reject, ...]
    wrapped: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class _Checked:
    """Rows whose positions and keys are sound."""

    rows: Rows
    keys: tuple[pa.Array, ...]
    lon: npt.NDArray[np.float64] | None
    lat: npt.NDArray[np.float64] | None
    wrapped: Flags

    def only(self, flags: Flags) -> "_Checked":
        if flags.all():
            return self
        return _Checked(
            self.rows.only(flags),
            tuple(keys.filter(pa.array(flags)) for keys in self.keys),
            None if self.lon is None else self.lon[flags],
            None if self.lat is None else self.lat[flags],
            self.wrapped[flags],
        )


@dataclass(frozen=True, slots=True)
class Locator:
    """Knows the homes of keys: those of this load and those that are live.

    Parameters
    ----------
    directors
        Lower-case name of a director -> who knows homes of its keys, asked in order.
    overlap
        Degrees that the directors of a pair may lie apart: the table's overlap radius.
    """

    directors: Mapping[str, Sequence[Homes]]
    overlap: float = 0.0

    def locate(self, rows: Rows) -> Found:
        """Check rows and find their homes.

        Parameters
        ----------
        rows
            Rows of a director table, or of a table whose directors are known; if they
            have homes, they keep them.

        Raises
        ------
        BadContribution
            If nobody knows a director, or keys are of another type than its.
        InvalidRequest
            If a position is no number or a key neither a whole number nor text.
        """
        findings = check.Findings(rows)
        checked = _check(rows, findings).only(~findings.bad)
        further = check.Findings(checked.rows)
        match rows.table.kind:
            case _ if rows.homes is not None:
                located = self._stored(checked, further)
            case TableKind.DIRECTOR:
                located = _directors(checked)
            case TableKind.REF_MATCH:
                located = self._pairs(checked, further)
            case _:
                located = self._children(checked, further)
        good, rows = ~further.bad, checked.rows
        return Found(
            _only(located, good),
            rows.only(good),
            (*findings.rejects, *further.rejects),
            rows.count(checked.wrapped & good),
        )

    def _stored(self, checked: _Checked, findings: check.Findings) -> Located:
        """Keep the homes: a director may lie elsewhere by now, an orphan have one."""
        rows, seconds = checked.rows, None
        assert rows.homes is not None
        if rows.table.kind is TableKind.REF_MATCH:
            _, link = rows.table.links
            second = self._homes(rows.table, link, checked.keys[1])
            check.orphans(rows, link, second, findings)
            alone = np.asarray(checked.keys[0].is_null())
            seconds = np.where(alone, -1, second)
        return Located(
            rows.table,
            rows.data,
            rows.homes,
            checked.keys[0],
            checked.lon,
            checked.lat,
            seconds,
            ids=checked.keys[-1] if rows.table.indexed else None,
        )

    def _children(self, checked: _Checked, findings: check.Findings) -> Located:
        rows = checked.rows
        (link,) = rows.table.links
        homes = self._homes(rows.table, link, checked.keys[0])
        if rows.table.orphans:
            assert checked.lon is not None
            assert checked.lat is not None
            lost = homes < 0
            homes[lost] = healpix.pixels(checked.lon[lost], checked.lat[lost])
        else:
            check.orphans(rows, link, homes, findings)
        ids = checked.keys[-1] if rows.table.id else None
        return Located(
            rows.table,
            rows.data,
            homes,
            checked.keys[0],
            checked.lon,
            checked.lat,
            ids=ids,
        )

    def _pairs(self, checked: _Checked, findings: check.Findings) -> Located:
        rows = checked.rows
        links = rows.table.links
        first, second = (
            self._homes(rows.table, link, keys)
            for link, keys in zip(links, checked.keys, strict=True)
        )
        for link, homes in zip(links, (first, second), strict=True):
            check.orphans(rows, link, homes, findings)
        check.pairs(rows, (first, second), self.overlap, findings)
        return Located(
            rows.table,
            rows.data,
            homes=np.where(first >= 0, first, second),
            keys=checked.keys[0],
            seconds=np.where(first >= 0, second, -1),
        )

    def _homes(self, table: Table, link: tuple[str, str], keys: pa.Array) -> Integers:
        """Return the homes of a column's directors; -1 where nobody knows one."""
        key, director = link
        if not (known := self.directors.get(director.lower())):
            raise BadContribution(
                f"table {table.name}: its director {director} is neither in this load "
                "nor in the release; load it before or together with the tables that "
                f"name it in {key}"
            )
        homes = np.full(len(keys), -1, dtype=np.int64)
        for who in known:
            if (absent := np.flatnonzero(homes < 0)).size:
                homes[absent] = who.homes(keys.take(pa.array(absent)))
        return homes


def _check(rows: Rows, findings: check.Findings) -> _Checked:
    table = rows.table
    lon = lat = None
    wrapped = np.zeros(len(rows), dtype=np.bool_)
    if table.position is not None:
        rows, lon, lat, wrapped = check.positions(rows, findings)
    pairs = table.kind is TableKind.REF_MATCH
    names = dict.fromkeys(
        table.column(name).name
        for name in (table.key, table.second_key, table.id)
        if name is not None
    )
    own = None if table.key is None else table.column(table.key).name
    keys = tuple(
        check.keys(
            rows,
            name,
            findings,
            null=pairs or (table.orphans and name == own),
        )
        for name in names
    )
    return _Checked(rows, keys, lon, lat, wrapped)


def _directors(checked: _Checked) -> Located:
    assert checked.lon is not None
    assert checked.lat is not None
    return Located(
        checked.rows.table,
        checked.rows.data,
        healpix.pixels(checked.lon, checked.lat),
        checked.keys[0],
        checked.lon,
        checked.lat,
        ids=checked.keys[0],
    )


def _only(located: Located, flags: Flags) -> Located:
    if flags.all():
        return located

    def cut(values: npt.NDArray[Item] | None) -> npt.NDArray[Item] | None:
        return None if values is None else values[flags]

    mask = pa.array(flags)
    return replace(
        located,
        data=located.data.filter(mask),
        homes=located.homes[flags],
        keys=located.keys.filter(mask),
        lon=cut(located.lon),
        lat=cut(located.lat),
        seconds=cut(located.seconds),
        ids=None if located.ids is None else pc.filter(located.ids, mask),
    )
