"""Checks the rows of a table and finds the home of each."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qserv.catalog.tables import Table, TableKind
from qserv.errors import BadContribution
from qserv.ingest import check
from qserv.ingest.index import LiveIndex
from qserv.ingest.partition import Located
from qserv.ingest.rows import Rows
from qserv.sky import healpix

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Locator:
    """Knows the homes of director keys: those of this load and those that are live.

    Parameters
    ----------
    live
        Lower-case name of a director table -> its live index.
    loaded
        The same -> its rows of this load; filled as directors are located.
    """

    live: Mapping[str, LiveIndex]
    loaded: dict[str, Located]

    def locate(self, rows: Rows) -> tuple[Located, tuple[int, ...]]:
        """Check rows and find their homes.

        Parameters
        ----------
        rows
            Rows of a director table, or of a child table whose director is known.

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
        findings = check.Findings(rows)
        lon = lat = None
        wrapped = (0,) * len(rows.sources)
        if rows.table.position is not None:
            rows, lon, lat, wrapped = check.positions(rows, findings)
        keys = check.keys(rows, findings)
        if rows.table.kind is TableKind.DIRECTOR:
            taken = self._live_homes(rows.table.name, keys) >= 0
            check.duplicates(rows, keys, taken, findings)
            findings.refuse()
            assert lon is not None
            assert lat is not None
            homes = healpix.pixels(lon, lat)
        else:
            homes = self._directors_homes(rows.table, keys)
            check.orphans(rows, homes, findings)
            findings.refuse()
        located = Located(rows.table, rows.data, homes, keys, lon, lat)
        if rows.table.kind is TableKind.DIRECTOR:
            self.loaded[rows.table.name.lower()] = located
        return located, wrapped

    def _directors_homes(self, table: Table, keys: pa.Array) -> Integers:
        assert table.director is not None
        director = table.director.lower()
        loaded = self.loaded.get(director)
        if loaded is None and director not in self.live:
            raise BadContribution(
                f"table {table.name}: its director {table.director} is neither in this "
                "load nor in the release; load it before or together with its children"
            )
        homes = np.full(len(keys), -1, dtype=np.int64)
        if loaded is not None:
            homes = _homes_among(loaded, keys, table)
        if director in self.live and (absent := np.flatnonzero(homes < 0)).size:
            homes[absent] = self._live_homes(director, keys.take(pa.array(absent)))
        return homes

    def _live_homes(self, director: str, keys: pa.Array) -> Integers:
        index = self.live.get(director.lower())
        if index is None:
            return np.full(len(keys), -1, dtype=np.int64)
        return index.homes(keys)


def _homes_among(loaded: Located, keys: pa.Array, table: Table) -> Integers:
    if loaded.keys.type != keys.type:
        raise BadContribution(
            f"table {table.name}: its key {table.key} is {keys.type}, but the key "
            f"{loaded.table.key} of {loaded.table.name} is {loaded.keys.type}"
        )
    at = pc.fill_null(pc.index_in(keys, value_set=loaded.keys), -1).to_numpy()
    homes: Integers = np.append(loaded.homes, -1)[at]
    return homes
