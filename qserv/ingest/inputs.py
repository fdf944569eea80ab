"""Finds the files to load: on local disks and in stores such as S3.

A file is named by a path or by a URI (``s3://bucket/key``, ``file:///path`` …; options
of the store stand in the URI's query, as `pyarrow.fs.FileSystem.from_uri` takes them).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from qserv.catalog.names import renamed
from qserv.errors import BadContribution, InvalidRequest
from qserv.ingest import localfiles, stores
from qserv.ingest.stores import Found

_BLOCK: Final = 4 * 2**20
_STORE_WILDCARDS: Final = frozenset("*[")


class Format(StrEnum):
    """The formats that are read."""

    PARQUET = "parquet"
    CSV = "csv"
    TSV = "tsv"
    FITS = "fits"
    VOTABLE = "votable"
    ECSV = "ecsv"
    ARROW = "arrow"

    @property
    def is_text(self) -> bool:
        """Whether it is rows of text between delimiters."""
        return self in {Format.CSV, Format.TSV, Format.ECSV}


class Compression(StrEnum):
    """How a whole file is compressed."""

    GZIP = "gzip"
    ZSTD = "zstd"


_SUFFIXES: Final = {
    ".parquet": Format.PARQUET,
    ".parq": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".csv": Format.CSV,
    ".txt": Format.CSV,
    ".tsv": Format.TSV,
    ".fits": Format.FITS,
    ".fit": Format.FITS,
    ".fts": Format.FITS,
    ".fz": Format.FITS,
    ".vot": Format.VOTABLE,
    ".vot.xml": Format.VOTABLE,
    ".votable": Format.VOTABLE,
    ".xml": Format.VOTABLE,
    ".ecsv": Format.ECSV,
    ".arrow": Format.ARROW,
    ".arrows": Format.ARROW,
    ".feather": Format.ARROW,
    ".ipc": Format.ARROW,
}
_COMPRESSED: Final = {".gz": Compression.GZIP, ".zst": Compression.ZSTD}
_WHOLE: Final = frozenset({Format.PARQUET, Format.ARROW})
"""Formats that compress inside, and are never compressed as a whole."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to load.

    Parameters
    ----------
    uri
        An absolute path, or a URI with all that opening it needs, credentials too:
        not for people.
    format
        Its format.
    compression
        How it is compressed as a whole; None where it is not.
    size
        Its bytes, as they are stored.
    modified
        When it was changed last, nanoseconds; None where its store does not tell.
    """

    uri: str
    format: Format
    compression: Compression | None
    size: int
    modified: int | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The path, or the URI without credentials and query: for people."""
        return stores.shown(self.uri)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    r"""What a file does not say about itself.

    Parameters
    ----------
    format
        Its format; None to go by its name.
    header
        Whether the first line of a CSV or TSV names its columns.
    names
        Names of a CSV's columns, instead of those in its header. Without a header and
        without names, the columns are those of the table, in its order.
    delimiter
        What stands between values; empty for ``,`` (CSV) or a tab (TSV).
    quote
        What stands around values that hold a delimiter, a quote or a newline; it is
        doubled inside. Empty where no character quotes.
    escape
        What takes its meaning from the next character; empty where none does.
    nulls
        Texts that are NULL where they stand without quotes, in every column, and in
        those that hold no text also in quotes or between blanks. None for the empty
        text and ``\N``. In columns that hold no text ``null``, ``nan``, ``none``,
        ``NA``, ``n/a``, ``--`` and ``-`` in any case are NULL besides.
    table
        Which table of a FITS or VOTable file: its name, or its number (of a FITS file
        that of the HDU, where the primary is 0; of a VOTable from 0). None for the
        first.
    ignore
        Columns of the file to leave out, in any case.
    rename
        Name in the file -> name in the table.
    """

    format: Format | None = None
    header: bool = True
    names: tuple[str, ...] = ()
    delimiter: str = ""
    quote: str = '"'
    escape: str = ""
    nulls: tuple[str, ...] | None = None
    table: int | str | None = None
    ignore: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)

    def kept(self, names: Sequence[str]) -> dict[int, str]:
        """Return the columns that are read: where each stands, and its new name."""
        left_out = {ignored.lower() for ignored in self.ignore}
        kept = {i: n for i, n in enumerate(names) if n.lower() not in left_out}
        return dict(zip(kept, renamed(list(kept.values()), self.rename), strict=True))


_KINDS: Final = {
    "format": str,
    "header": bool,
    "names": tuple,
    "delimiter": str,
    "quote": str,
    "escape": str,
    "nulls": tuple,
    "table": int,
}
_WANTED: Final = {
    str: "it is a text of one character, or an empty one",
    bool: "it is true or false",
    tuple: "it is a list of texts",
    int: "it is a name or a number from 0",
}

DEFAULTS: Final = ReadOptions()
"""What is meant where nothing is said."""


def find(
    table: str, patterns: Sequence[str | Path], options: ReadOptions = DEFAULTS
) -> tuple[InputFile, ...]:
    """Return the files that paths, directories and wildcards name, without repetition.

    Parameters
    ----------
    table
        The table they are for; only for messages.
    patterns
        Files; directories, of which all files below are taken but hidden ones and
        notes (``.*``, ``_*``); wildcards as in a shell (``*``, ``?``, ``[…]``,
        ``**``); or URIs of any of these (there ``?`` begins the store's options).
    options
        Its format counts before a file's name.

    Raises
    ------
    BadContribution
        If one names nothing, or a file of no known format, or a store does not answer.
    """
    found: dict[str, Found] = {}
    for pattern in patterns:
        matches = sorted(_matches(str(pattern)))
        if not matches:
            raise BadContribution(
                f"table {table}: there is no file {stores.shown(str(pattern))}; give "
                "a file, a directory, a wildcard, or a URI such as s3://bucket/key"
            )
        for match in matches:
            # Two names of one file would load its rows twice.
            other = found.setdefault(_identity(match.uri), match)
            _check_store(table, match, other)
    return tuple(_file(table, match, options) for match in found.values())


def read_options(
    said: Mapping[str, Any],
    *,
    ignore: Iterable[str] = (),
    rename: Mapping[str, str] | None = None,
) -> ReadOptions:
    """Make options out of what a sidecar or a command line says.

    Parameters
    ----------
    said
        Fields of `ReadOptions` by name, as YAML has them.
    ignore, rename
        The fields of these names.

    Raises
    ------
    InvalidRequest
        If there is no such option, or it cannot have that value.
    """
    options: dict[str, Any] = {}
    for name, value in said.items():
        if name not in _KINDS:
            raise InvalidRequest(
                f"there is no option {name} of reading; there are {', '.join(_KINDS)}"
            )
        options[name] = _option(name, value)
    return ReadOptions(**options, ignore=frozenset(ignore), rename=dict(rename or {}))


def fingerprint(file: InputFile) -> bytes:
    """Read a file once and return the sha256 of its bytes as they are stored.

    Raises
    ------
    BadContribution
        If it cannot be read.
    """
    digest = hashlib.sha256()
    with stores.named(file.name), stores.opened(file.uri) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.digest()


def check_unchanged(file: InputFile) -> None:
    """Refuse a file that was changed after it was found.

    Its fingerprint would be that of other rows than those that were read.

    Raises
    ------
    BadContribution
        If it was, or is no more.
    """
    with stores.named(file.name):
        now = stores.look(file.uri)
    if file.size != now.size or file.modified not in {None, now.modified}:
        raise BadContribution(
            f"{file.name}: was changed while it was read; load it once it is complete"
        )


def kind_of(name: str) -> tuple[Format | None, Compression | None]:
    """Return what a file is by its name; None for a format that it does not say."""
    name = name.lower()
    packed = next((c for s, c in _COMPRESSED.items() if name.endswith(s)), None)
    if packed:
        name = name.rpartition(".")[0]
    by_name = next((f for s, f in _SUFFIXES.items() if name.endswith(s)), None)
    return by_name, packed


def _option(name: str, value: Any) -> Any:
    kind = _KINDS[name]
    if name == "format" and value in set(Format):
        return Format(value)
    if kind is tuple and isinstance(value, (list, tuple)):
        if all(isinstance(text, str) for text in value):
            return tuple(value)
    elif name == "table" and isinstance(value, (str, int)) and value is not True:
        return int(value) if str(value).isdigit() else value
    elif name != "format" and kind in {str, bool} and isinstance(value, kind):
        return value
    raise InvalidRequest(
        f"the option {name} of reading cannot be {value!r}; "
        + (f"one of {', '.join(Format)}" if name == "format" else _WANTED[kind])
    )


def _file(table: str, found: Found, options: ReadOptions) -> InputFile:
    name = stores.shown(found.uri)
    by_name, compression = kind_of(name)
    if (wanted := options.format or by_name) is None:
        raise BadContribution(
            f"table {table}: the name of {name} says no format; say --format, rename "
            f"it to end in {', '.join(_SUFFIXES)} (texts, FITS and VOTable may be "
            "compressed: .gz, .zst), or give the files to load by name or wildcard"
        )
    if compression and wanted in _WHOLE:
        raise BadContribution(
            f"table {table}: {name} is {wanted} and compressed as a whole; that format "
            "compresses inside: unpack the file, or write it with compression"
        )
    return InputFile(found.uri, wanted, compression, found.size, found.modified)


def _identity(uri: str) -> str:
    return stores.shown(uri) if stores.is_uri(uri) else str(Path(uri).resolve())


def _check_store(table: str, match: Found, other: Found) -> None:
    """Refuse files of two stores that are called the same: one would be left out."""
    if stores.is_uri(match.uri) and stores.options(match.uri) != stores.options(
        other.uri
    ):
        raise BadContribution(
            f"table {table}: {stores.shown(match.uri)} is named twice, with other "
            "options of its store (credentials, endpoint …); name it once, or load "
            "files of two stores one after the other"
        )


def _matches(pattern: str) -> Iterable[Found]:
    if stores.is_uri(pattern):
        scheme, path = stores.place(pattern)
        if scheme != "file":
            return stores.matches(pattern, wildcards=_STORE_WILDCARDS)
        pattern = path
    # Absolute, for another process may stand in another directory.
    return map(_looked_at, localfiles.found(Path(pattern).absolute()))


def _looked_at(path: Path) -> Found:
    with stores.named(str(path)):
        return stores.look(str(path))
