"""Reads ECSV: CSV behind a YAML header that says the columns' types and meaning."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa
import yaml

from qserv.ingest import stores
from qserv.ingest.formats import delimited
from qserv.ingest.formats.delimited import Opened, Place
from qserv.ingest.formats.parsing import Layout
from qserv.ingest.formats.quotes import Dialect, Stream
from qserv.ingest.formats.rows import Batch, Piece, wanted
from qserv.ingest.formats.texts import parse
from qserv.ingest.formats.values import several

MAGIC: Final = b"# %ECSV "
"""How a file begins."""

_LIMIT: Final = 64 * 2**20
_PART: Final = 2**16
_TYPES: Final = {
    "bool": pa.bool_(), "string": pa.string(),
    "int8": pa.int8(), "int16": pa.int16(), "int32": pa.int32(), "int64": pa.int64(),
    "uint8": pa.uint8(), "uint16": pa.uint16(), "uint32": pa.uint32(),
    "uint64": pa.uint64(), "float16": pa.float32(), "float32": pa.float32(),
    "float64": pa.float64(), "float128": pa.float64(),
}  # fmt: skip
_NULLS: Final = ("",)
_MASKED: Final = "astropy.table.column.MaskedColumn"


class _Loader(yaml.SafeLoader):
    """Reads YAML that may hold objects of libraries, without making them."""


def _plain(loader: _Loader, _tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        # Units are written as objects where they are unusual, columns by their names.
        said = loader.construct_mapping(node)
        return said.get("unit", said.get("name"))
    return None


_Loader.add_multi_constructor("!", _plain)
_Loader.add_multi_constructor("tag:yaml.org,2002:python/", _plain)


class _Rest:
    """What is left of a stream, behind what was read too far."""

    def __init__(self, held: bytes, stream: Stream) -> None:
        self._held = held
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        """Return the next bytes."""
        if self._held:
            part, self._held = self._held[:size], self._held[size:]
            return part
        return self._stream.read(size)


def read(piece: Piece) -> Iterator[Batch]:
    """Read a file; see `qserv.ingest.formats.read`."""
    with stores.named(piece.file.name), delimited.stream_of(piece) as stream:
        opened, schema = _begin(piece, stream)
        names = opened.layout.names
        hidden = {names[mask] for mask in opened.masks.values()}
        options = replace(piece.options, ignore=piece.options.ignore | hidden)
        shown = replace(piece, options=options)
        refuse = {f.name for f in schema if pa.types.is_nested(f.type)}
        for i in wanted(shown, names):
            if names[i] in refuse:
                raise piece.wrong(several("an object"), column=names[i])
        yield from delimited.read_rows(shown, opened)


def raw(piece: Piece) -> Iterator[pa.RecordBatch]:
    """Read all rows in the types that the header says."""
    with stores.named(piece.file.name), delimited.stream_of(piece) as stream:
        opened, schema = _begin(piece, stream)
        for batch in delimited.raw_rows(piece, opened):
            columns = [
                texts if pa.types.is_nested(field.type) else parse(texts, field.type)[0]
                for texts, field in zip(batch.columns, schema, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, names=schema.names)


def schema_of(piece: Piece) -> pa.Schema:
    """Return the columns as the header says them."""
    with stores.named(piece.file.name), delimited.stream_of(piece) as stream:
        return _begin(piece, stream)[1]


def count(_piece: Piece) -> None:
    """Return None: only reading tells how many rows there are."""


def meanings(piece: Piece, text: str) -> dict[str, dict[bytes, bytes]]:
    """Return unit, ucd and description of columns by their names.

    Parameters
    ----------
    piece
        What is read; for messages.
    text
        A header of ECSV without what marks its lines, as astropy puts it into Parquet.

    Raises
    ------
    BadContribution
        If it is none.
    """
    fields = _schema(piece, _said(piece, text).get("datatype"))
    return {field.name: field.metadata or {} for field in fields}


def masks(piece: Piece, text: str) -> dict[str, str]:
    """Return the columns that astropy masks, each with the column of its mask.

    Raises
    ------
    BadContribution
        If it is no header; see `meanings`.
    """
    return _masks(_said(piece, text))


def _masks(header: Mapping[str, Any]) -> dict[str, str]:
    meta = header.get("meta")
    serialized = dict(_pairs(meta)).get("__serialized_columns__")
    found = {}
    for name, how in _pairs(serialized):
        said = dict(_pairs(how))
        if said.get("__class__") == _MASKED and said.get("mask"):
            found[str(said.get("data") or name)] = str(said["mask"])
    return found


def _begin(piece: Piece, stream: Stream) -> tuple[Opened, pa.Schema]:
    lines, rest = _header(piece, stream)
    text = "\n".join(line[2:].decode() for line in lines[1:])
    said = _said(piece, text)
    delimiter = said.get("delimiter") or " "
    if delimiter not in {" ", ","}:
        raise piece.wrong(f"its header says the delimiter {delimiter!r}; ECSV has none")
    dialect, place = Dialect(str(delimiter), '"', ""), Place(0, empty_rows=False)
    rows = delimited.whole_rows(piece, rest, dialect, place)
    names, rows = delimited.header(piece, rows, dialect)
    place.row = 1
    schema = _schema(piece, said.get("datatype"))
    if tuple(schema.names) != names:
        raise piece.wrong(
            f"its YAML header names the columns {', '.join(schema.names)}, but the "
            f"line behind it {', '.join(names)}"
        )
    nulls = _NULLS if piece.options.nulls is None else piece.options.nulls
    layout = Layout(dialect, names, nulls, quoted_nulls=True, empty_rows=False)
    at = {name: i for i, name in enumerate(names)}
    masks = {at[n]: at[m] for n, m in _masks(said).items() if {n, m} <= at.keys()}
    shown = [field for i, field in enumerate(schema) if i not in masks.values()]
    return Opened(layout, rows, place, masks), pa.schema(shown)


def _header(piece: Piece, stream: Stream) -> tuple[list[bytes], Stream]:
    """Return the lines that begin with #, and what is behind them."""
    held = b""
    while len(held) < _LIMIT:
        part = stream.read(_PART)
        held += part
        if not held.startswith(MAGIC[: len(held)]):
            raise piece.wrong("is no ECSV, which begins with '# %ECSV 1.0'")
        behind = re.search(rb"(?:^|\n)(?!#)(?=[\s\S])", held)
        if behind and behind.end() > 0:
            lines = held[: behind.end()].splitlines()
            return lines, _Rest(held[behind.end() :], stream)
        if not part:
            break
    raise piece.wrong("has a header and nothing behind it: it is truncated")


def _said(piece: Piece, text: str) -> Mapping[str, Any]:
    try:
        said = yaml.load(text, _Loader)  # noqa: S506 (it makes no objects)
    except (yaml.YAMLError, ArithmeticError, LookupError, ValueError) as error:
        raise piece.wrong(f"its header is no YAML: {stores.plain(error)}") from error
    except (AttributeError, TypeError, RecursionError) as error:
        raise piece.wrong("its header is no YAML that tables have") from error
    if not isinstance(said, Mapping):
        raise piece.wrong("its header says no columns")
    return said


def _schema(piece: Piece, columns: Any) -> pa.Schema:
    if not isinstance(columns, list) or not columns:
        raise piece.wrong("its header says no columns (datatype)")
    fields = []
    for column in columns:
        if not isinstance(column, Mapping) or not isinstance(column.get("name"), str):
            raise piece.wrong("its header has a column without a name")
        fields.append(_field(piece, column))
    return pa.schema(fields)


def _field(piece: Piece, column: Mapping[str, Any]) -> pa.Field:
    name, datatype = column["name"], str(column.get("datatype"))
    several = column.get("subtype") is not None or datatype.startswith("complex")
    if datatype not in _TYPES and not several:
        raise piece.wrong(f"has type {datatype}, which ECSV has not", column=name)
    kind = pa.list_(pa.float64()) if several else _TYPES[datatype]
    said = {
        "unit": column.get("unit"),
        "ucd": dict(_pairs(column.get("meta"))).get("ucd"),
        "description": column.get("description"),
    }
    meaning = {key: str(text) for key, text in said.items() if text}
    return pa.field(name, kind, metadata=meaning or None)


def _pairs(said: Any) -> Iterator[tuple[str, Any]]:
    """Return what is said, be it a mapping or, as of an OrderedDict, pairs."""
    pairs = said.items() if isinstance(said, Mapping) else said
    for pair in pairs if isinstance(pairs, Iterable) else ():
        match pair:
            case (str(key), value):
                yield key, value
            case _:
                pass
