"""Checks the rows of a table and finds the home of each."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qserv.catalog.tables import TableKind
from qserv.errors import BadContribution
from qserv.ingest import check
from qserv.ingest.index import LiveIndex
from qserv.ingest.partition import Located
from qserv.ingest.rows import Rows
from qserv.sky import healpix

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Locator:
    """Knows the homes of keys: those of this load and those that are live.

    Parameters
    ----------
    live
        Lower-case name of a table with an index -> its live index.
    loaded
        The same of a director -> its rows of this load; filled as they are located.
    overlap
        Degrees that the directors of a pair may lie apart: the family's overlap radius.
    """

    live: Mapping[str, LiveIndex]
    loaded: dict[str, Located]
    overlap: float = 0.0

    def locate(self, rows: Rows) -> tuple[Located, tuple[int, ...]]:
        """Check rows and find their homes.

        Parameters
        ----------
        rows
            Rows of a director table, or of a table whose directors are known.

        Returns
        -------
        located
            The rows with homes, keys and own positions.
        wrapped
            How many right ascensions were wrapped in each source.

        Raises
        ------
        BadContribution
            If a position, a key or a director is not what it must be; names file, row
            and column.
        """
        wrapped = (0,) * len(rows.sources)
        match rows.table.kind:
            case TableKind.DIRECTOR:
                located, wrapped = self._directors(rows)
                self.loaded[rows.table.name.lower()] = located
            case TableKind.REF_MATCH:
                located = self._pairs(rows)
            case _:
                located, wrapped = self._children(rows)
        return located, wrapped

    def _directors(self, rows: Rows) -> tuple[Located, tuple[int, ...]]:
        findings = check.Findings(rows)
        rows, lon, lat, wrapped = check.positions(rows, findings)
        keys = self._ids(rows, findings)
        findings.refuse()
        homes = healpix.pixels(lon, lat)
        return Located(rows.table, rows.data, homes, keys, lon, lat, ids=keys), wrapped

    def _children(self, rows: Rows) -> tuple[Located, tuple[int, ...]]:
        findings = check.Findings(rows)
        lon = lat = None
        wrapped = (0,) * len(rows.sources)
        if rows.table.position is not None:
            rows, lon, lat, wrapped = check.positions(rows, findings)
        (link,) = rows.table.links
        keys = check.keys(rows, link[0], findings)
        homes = self._homes(rows, link, keys, findings)
        ids = self._ids(rows, findings) if rows.table.id else None
        findings.refuse()
        return Located(rows.table, rows.data, homes, keys, lon, lat, ids=ids), wrapped

    def _pairs(self, rows: Rows) -> Located:
        findings = check.Findings(rows)
        links = rows.table.links
        keys = [check.keys(rows, key, findings, null=True) for key, _ in links]
        first, second = (
            self._homes(rows, link, found, findings)
            for link, found in zip(links, keys, strict=True)
        )
        check.pairs(rows, (first, second), self.overlap, findings)
        findings.refuse()
        return Located(
            rows.table,
            rows.data,
            homes=np.where(first >= 0, first, second),
            keys=keys[0],
            seconds=np.where(first >= 0, second, -1),
        )

    def _ids(self, rows: Rows, findings: check.Findings) -> pa.Array:
        """Return the values of the column that gets an index."""
        table = rows.table
        assert table.indexed is not None
        ids = check.keys(rows, table.indexed, findings)
        check.duplicates(rows, ids, self._live_homes(table.name, ids) >= 0, findings)
        return ids

    def _homes(
        self,
        rows: Rows,
        link: tuple[str, str],
        keys: pa.Array,
        findings: check.Findings,
    ) -> Integers:
        """Return the homes of a column's directors; -1 for NULL."""
        key, director = link[0], link[1].lower()
        loaded = self.loaded.get(director)
        if loaded is None and director not in self.live:
            raise BadContribution(
                f"table {rows.table.name}: its director {link[1]} is neither in this "
                "load nor in the release; load it before or together with the tables "
                "that name it"
            )
        homes = np.full(len(keys), -1, dtype=np.int64)
        if loaded is not None:
            homes = _homes_among(
                loaded, keys, f"table {rows.table.name}: its key {key}"
            )
        if director in self.live and (absent := np.flatnonzero(homes < 0)).size:
            homes[absent] = self._live_homes(director, keys.take(pa.array(absent)))
        check.orphans(rows, link, homes, findings)
        return homes

    def _live_homes(self, table: str, keys: pa.Array) -> Integers:
        index = self.live.get(table.lower())
        if index is None:
            return np.full(len(keys), -1, dtype=np.int64)
        return index.homes(keys)


def _homes_among(loaded: Located, keys: pa.Array, what: str) -> Integers:
    if loaded.keys.type != keys.type:
        raise BadContribution(
            f"{what} is {keys.type}, but the key {loaded.table.key} of "
            f"{loaded.table.name} is {loaded.keys.type}"
        )
    known = pc.index_in(keys, value_set=loaded.keys, skip_nulls=True)
    homes: Integers = np.append(loaded.homes, -1)[pc.fill_null(known, -1).to_numpy()]
    return homes
