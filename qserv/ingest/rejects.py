"""Rows that a load leaves out, and the file that tells them.

Any row that cannot be kept is a reject: a position that is none, a key that is NULL or
there already, a value that its type does not hold. A load ends without effect as soon
as it has more of them than it was allowed.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final

from qserv.errors import BadContribution, InternalError, InvalidRequest
from qserv.storage.durable import write_file

LISTED: Final = 5
"""How many rejects an error spells out."""

HEADER: Final = ("table", "file", "row", "column", "value", "reason")


@dataclass(frozen=True, slots=True, order=True)
class Reject:
    """A row that is left out.

    Parameters
    ----------
    input
        Which input file of the load it is of, counted from 0.
    row
        Its number there; the first data row is 1.
    column
        The column to blame.
    value
        What stands there, as text.
    reason
        What is wrong with it.
    """

    input: int
    row: int
    column: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Named:
    """An input file as messages name it.

    Parameters
    ----------
    table, source
        Which.
    needed
        Whether none of its rows may be left out, however many are allowed.
    """

    table: str
    source: str
    needed: bool = False


class Rejects:
    """All rejects of one load.

    Parameters
    ----------
    inputs
        The input files of the load.
    allowed
        How many rows may be left out; None: any number.
    file
        Where they are written down; None: nowhere.
    """

    def __init__(
        self, inputs: Sequence[Named], *, allowed: int | None, file: Path | None
    ) -> None:
        self._inputs = inputs
        self._allowed = allowed
        self._file = file
        self._found: dict[tuple[int, int], Reject] = {}
        self._counts: Counter[int] = Counter()
        self._needed = False

    def __len__(self) -> int:
        return len(self._found)

    def add(self, rejects: Iterable[Reject]) -> None:
        """Take in rejects; of a row that has several, the first is kept.

        Raises
        ------
        InternalError
            If one is of no input file: rows that were stored were good.
        """
        for reject in rejects:
            if reject.input >= len(self._inputs):
                raise InternalError(
                    f"a stored row is none: {reject.column} = {reject.value}: "
                    f"{reject.reason}; nothing was changed; see qserv doctor"
                )
            if (row := (reject.input, reject.row)) not in self._found:
                self._found[row] = reject
                self._counts[reject.input] += 1
            self._needed |= self._inputs[reject.input].needed

    @property
    def too_many(self) -> bool:
        """Whether there are more than allowed."""
        if self._allowed is None:
            return False
        return self._needed or len(self._found) > self._allowed

    @property
    def file(self) -> Path | None:
        """Where they were written; None if there are none."""
        return self._file if self._found else None

    def of(self, number: int) -> int:
        """Return how many rows of an input file were left out."""
        return self._counts[number]

    def write(self) -> None:
        """Write all of them to the file, as CSV; nothing if there are none.

        Raises
        ------
        InvalidRequest
            If they cannot be written there.
        """
        if not self._found or self._file is None:
            return
        lines = [self._line(reject) for reject in sorted(self._found.values())]
        try:
            write_file(self._file.absolute(), _as_csv([HEADER, *lines]).encode())
        except OSError as error:
            raise InvalidRequest(
                f"bad rows ({len(lines)}) cannot be written to {self._file}: "
                f"{error.strerror}; give another file (--rejects, rejects=)"
            ) from error

    def refuse(self) -> None:
        """Raise `BadContribution` if there are more than allowed."""
        if not self.too_many:
            return
        found = sorted(self._found.values())
        table = self._inputs[found[0].input].table
        lines = [
            f"{self._inputs[r.input].source}, {_place(r)}: {r.reason}"
            for r in found[:LISTED]
        ]
        if (more := len(found) - LISTED) > 0:
            lines.append(f"and {more} more bad row{'s' * (more > 1)}")
        raise BadContribution(
            f"table {table} was not loaded: " + "\n  ".join(lines) + self._remedy()
        )

    def _remedy(self) -> str:
        count = len(self._found)
        where = f"all {count} are in {self._file}; " if self._file else ""
        if self._needed:
            return f"\n{where}correct them"
        return (
            f"\n{where}correct them, or leave them out with --max-rejects {count} "
            f"(max_rejects; allowed were {self._allowed}{self._more()})"
        )

    def _more(self) -> str:
        several = len({each.table.lower() for each in self._inputs}) > 1
        return "; tables that were not read yet may have more" if several else ""

    def _line(self, reject: Reject) -> tuple[object, ...]:
        named = self._inputs[reject.input]
        return (
            named.table,
            named.source,
            reject.row,
            reject.column,
            reject.value,
            reject.reason,
        )


def _place(reject: Reject) -> str:
    where = f"row {reject.row}"
    return f"{where}, column {reject.column}" if reject.column else where


def _as_csv(lines: Iterable[Sequence[object]]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
