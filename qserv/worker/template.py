"""SQL of a batch from the SQL of its task.

A source's marker in the template becomes a selection from the batch's files, or an
empty relation of the same columns where there is no file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from qserv.catalog.tables import CHUNK, HEALPIX, Column
from qserv.errors import InternalError
from qserv.plan.plan import MARK

__all__ = ["Around", "File", "Template"]

File = tuple[int, str]
"""Of which chunk, and where."""


@dataclass(frozen=True, slots=True)
class Around:
    """How the template reads a halo.

    Parameters
    ----------
    whole
        Chunks whose files are read as they are.
    ranges
        Half-open ranges of homes: of the other files, only rows in them are read.
    pixels, shift
        Of these, only rows whose home, shifted right by so many bits, is in the
        relation of that name.
    relation
        Name of the rows that came from peers; empty where none are needed.
    chunks
        Of these, only rows of these chunks are read; empty where all are.
    """

    whole: frozenset[int]
    ranges: tuple[tuple[int, int], ...]
    pixels: str
    shift: int
    relation: str = ""
    chunks: tuple[int, ...] = ()


class Template:
    """A task's SQL, cut once at its markers.

    Parameters
    ----------
    sql
        With source i written as ``MARK i MARK``.
    columns
        The columns that each source reads, by its number.

    Raises
    ------
    InternalError
        If a marker names no source.
    """

    def __init__(self, sql: str, columns: Sequence[Sequence[Column]]) -> None:
        self._texts = sql.split(MARK)[::2]
        numbers = sql.split(MARK)[1::2]
        if len(self._texts) != len(numbers) + 1 or not all(
            number.isdecimal() and int(number) < len(columns) for number in numbers
        ):
            raise InternalError("a task's SQL has a marker without source")
        self._numbers = [int(number) for number in numbers]
        self._columns = columns

    def fill(
        self,
        files: Sequence[Sequence[File]],
        halos: Mapping[int, Around] = MappingProxyType({}),
    ) -> str:
        """Return the SQL of a batch.

        Parameters
        ----------
        files
            For each source its files: of which chunk, and the path below the data
            directory.
        halos
            Of sources that are one, by their number.
        """
        made = [self._texts[0]]
        for number, text in zip(self._numbers, self._texts[1:], strict=True):
            columns = self._columns[number]
            made += (_relation(columns, files[number], halos.get(number)), text)
        return "".join(made)


def _relation(
    columns: Sequence[Column], files: Sequence[File], halo: Around | None
) -> str:
    names = ", ".join(_quoted(column.name) for column in columns) or "1"
    whole = [path for chunk, path in files if not halo or chunk in halo.whole]
    parts = [f"SELECT {names} FROM {_scan(whole)}"] if whole else []
    if halo and (partly := [p for chunk, p in files if chunk not in halo.whole]):
        parts.append(f"SELECT {names} FROM {_scan(partly)} WHERE {_within(halo)}")
    if halo and halo.relation:
        parts.append(f"SELECT {names} FROM {_quoted(halo.relation)}{_only(halo)}")
    return f"({' UNION ALL '.join(parts) or _nothing(columns)})"


def _scan(paths: Sequence[str]) -> str:
    # Paths are ours (layout.check_path): they hold neither quotes nor wildcards.
    listed = "', '".join(paths)
    return f"read_parquet(['{listed}'], hive_partitioning=false)"


def _nothing(columns: Sequence[Column]) -> str:
    nulls = [f"NULL::{c.datatype} AS {_quoted(c.name)}" for c in columns]
    return f"SELECT {', '.join(nulls) or '1'} WHERE false"


def _within(halo: Around) -> str:
    home = _quoted(HEALPIX)
    ranges = [f"{home} >= {low} AND {home} < {high}" for low, high in halo.ranges]
    pixels = f"{home} >> {halo.shift} IN (FROM {_quoted(halo.pixels)})"
    return f"({' OR '.join(ranges)}) AND {pixels}"


def _only(halo: Around) -> str:
    if not halo.chunks:
        return ""
    # As rows they are hashed; as a list, compared one by one (`qserv.plan.render`).
    return f" WHERE {_quoted(CHUNK)} IN (SELECT unnest({[*halo.chunks]}))"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
