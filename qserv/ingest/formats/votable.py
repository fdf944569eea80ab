"""Reads VOTable: TABLEDATA, BINARY and BINARY2, as a stream.

The document is read with expat, some of it at a time, so that memory does not grow
with it. Entities and links to other files are refused.
"""

import base64
import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Final
from xml.parsers import expat

import numpy as np
import pyarrow as pa

from qserv.ingest import stores
from qserv.ingest.formats import cells
from qserv.ingest.formats.cells import Field, Unreadable
from qserv.ingest.formats.quotes import Stream
from qserv.ingest.formats.rows import (
    Batch,
    Piece,
    Reject,
    conform,
    numbered,
    shown,
    wanted,
)
from qserv.ingest.formats.texts import typed
from qserv.ingest.formats.values import several

_BLOCK: Final = 2**18
_ROWS: Final = 2**14
"""Rows that are kept as Python objects at a time."""
_LIMIT: Final = 64 * 2**20
"""Bytes that no value is longer than."""
_DATA: Final = {"TABLEDATA", "BINARY", "BINARY2", "FITS"}


class _Refused(Exception):
    """The document has what is not read."""


class _Document:
    """What expat tells of a document.

    Parameters
    ----------
    wish
        Number or name of the table that is wanted; None for the first.
    """

    def __init__(self, wish: int | str | None) -> None:
        self.fields: list[Field] = []
        self.tables: list[str] = []
        self.kind = ""
        self.rows: list[list[str]] = []
        self.binary = bytearray()
        self.ended = False
        self._wish = wish
        self._nulls: dict[str, str] = {}
        self._path: list[str] = []
        self._wanted = False
        self._text: list[str] | None = None
        self._size = 0
        self._row: list[str] = []
        self._base64 = b""

    def parser(self) -> expat.XMLParserType:
        """Return a parser that tells this document."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.buffer_size = 2**16
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.EntityDeclHandler = _refuse_entity
        # One that a DTD elsewhere defines would be left out of its text in silence.
        parser.SkippedEntityHandler = _refuse_entity
        return parser

    def _start(self, name: str, said: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        if not self._path and name != "VOTABLE":
            raise _Refused(f"its root is <{name}>, not <VOTABLE>")
        self._path.append(name)
        if name == "VALUES" and "ID" in said:
            self._nulls[said["ID"]] = said.get("null", "").strip()
        if name == "INFO" and _status(said) == "ERROR":
            raise _Refused("it says itself that its query failed")
        if name == "TABLE" and not self.ended:
            self._begin_table(said)
        elif self._wanted:
            self._start_inside(name, said)

    def _begin_table(self, said: dict[str, str]) -> None:
        called = {said[key].lower() for key in ("name", "ID") if said.get(key)}
        number = len(self.tables)
        self.tables.append(said.get("name") or said.get("ID") or f"number {number}")
        wish = self._wish
        self._wanted = (
            wish.lower() in called if isinstance(wish, str) else number == (wish or 0)
        )

    def _start_inside(self, name: str, said: dict[str, str]) -> None:
        parent = self._path[-2]
        if name == "FIELD" and parent == "TABLE":
            self.fields.append(_field(said, len(self.fields)))
        elif name == "VALUES" and parent == "FIELD":
            same = self._nulls.get(said.get("ref", ""), "")
            null = said.get("null", "").strip() or same or self.fields[-1].null
            self.fields[-1] = replace(self.fields[-1], null=null)
        elif name in _DATA and parent == "DATA":
            self.kind = name
        elif name == "STREAM" and (
            "href" in said or said.get("encoding", "none") != "base64"
        ):
            raise _Refused("its rows are not in it as base64")
        elif parent == "TD":
            raise _Refused(f"a value has <{name}> in it")
        elif name == "TR":
            self._row = []
        elif name == "TD" or (name == "DESCRIPTION" and parent == "FIELD"):
            if "encoding" in said:
                raise _Refused("a value is in base64")
            self._text, self._size = [], 0

    def _end(self, name: str) -> None:
        name = name.rpartition(":")[2]
        self._path.pop()
        if not self._wanted:
            return
        if name == "TD" and self._text is not None:
            self._row.append("".join(self._text))
            self._text = None
        elif name == "TR":
            self.rows.append(self._row)
        elif name == "DESCRIPTION" and self._text is not None:
            text = " ".join("".join(self._text).split())
            self.fields[-1] = replace(self.fields[-1], description=text)
            self._text = None
        elif name == "TABLE":
            self._wanted, self.ended = False, True

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)
            self._size += len(text)
            if self._size > _LIMIT:
                raise _Refused("a value is longer than 64 MiB")
        elif self._wanted and self._path[-1] == "STREAM":
            self._decode(text)

    def _decode(self, text: str) -> None:
        data = self._base64 + "".join(text.split()).encode("ascii", "replace")
        whole = len(data) // 4 * 4
        self.binary += base64.b64decode(data[:whole], validate=True)
        self._base64 = data[whole:]

    @property
    def cut(self) -> bool:
        """Whether the base64 ended within a group."""
        return bool(self._base64)


def read(piece: Piece) -> Iterator[Batch]:
    """Read a table; see `qserv.ingest.formats.read`."""
    first = piece.first
    with stores.named(piece.file.name), _stream(piece) as stream:
        for document in _parsed(piece, stream):
            kept = wanted(piece, [field.name for field in document.fields])
            for i in kept:
                _check(piece, document.fields[i])
            rejects, rows, arrays = _drained(piece, document, list(kept), first)
            numbers = numbered(first, rows + len(rejects))
            numbers = np.delete(numbers, [reject.row - first for reject in rejects])
            first += rows + len(rejects)
            raw = pa.RecordBatch.from_arrays(arrays, names=list(kept.values()))
            yield conform(piece, raw, numbers, texts=True, rejects=rejects)


def raw(piece: Piece) -> Iterator[pa.RecordBatch]:
    """Read all rows in the types of the table."""
    with stores.named(piece.file.name), _stream(piece) as stream:
        for document in _parsed(piece, stream):
            fields = document.fields
            single = [i for i, field in enumerate(fields) if field.single]
            _, rows, arrays = _drained(piece, document, single, 1)
            columns = dict(zip(single, arrays, strict=True))
            yield pa.RecordBatch.from_arrays(
                [
                    typed(columns[i], field.type)
                    if i in columns
                    else pa.nulls(rows, field.type)
                    for i, field in enumerate(fields)
                ],
                names=[field.name for field in fields],
            )


def schema_of(piece: Piece) -> pa.Schema:
    """Return the columns of a table; those that cannot be read are lists."""
    with stores.named(piece.file.name), _stream(piece) as stream:
        for document in _parsed(piece, stream):
            return pa.schema([field.field for field in document.fields])
    raise piece.wrong("has no table")


def meanings(piece: Piece, document: str) -> dict[str, dict[bytes, bytes]]:
    """Return unit, ucd and description of the columns of a table without rows.

    Raises
    ------
    BadContribution
        If there is no table.
    """
    first = replace(piece, options=replace(piece.options, table=None))
    for told in _parsed(first, io.BytesIO(document.encode())):
        return {each.name: each.field.metadata or {} for each in told.fields}
    raise piece.wrong("has no table")


def count(_piece: Piece) -> None:
    """Return None: only reading tells how many rows there are."""


def _stream(piece: Piece) -> pa.NativeFile:
    return stores.streamed(piece.file.uri, piece.file.compression)


def _parsed(piece: Piece, stream: Stream) -> Iterator[_Document]:
    """Tell of the table as often as there are rows to take, and at least once.

    The document is read to its end: there it may say that its query failed, and packed
    ones have their checksum.
    """
    document, told = _Document(piece.options.table), False
    parser = document.parser()
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    more = True
    while more:
        more = _parse(piece, parser, stream.read(_BLOCK))
        full = len(document.rows) >= _ROWS or len(document.binary) >= _BLOCK
        if full or (document.ended and not told):
            told = document.ended
            yield document
    if not told:
        raise piece.wrong(_lacking(piece, document))


def _parse(piece: Piece, parser: expat.XMLParserType, block: bytes) -> bool:
    """Parse some of a document, and return whether there is more."""
    try:
        parser.Parse(block, not block)
    except (expat.ExpatError, LookupError, ValueError, _Refused) as error:
        if not block and isinstance(error, expat.ExpatError):
            raise piece.wrong(
                f"is no whole VOTable: it is truncated, or not closed ({error})"
            ) from error
        raise piece.wrong(f"is no VOTable to read: {error}") from error
    return bool(block)


def _lacking(piece: Piece, document: _Document) -> str:
    wish = piece.options.table
    if wish is None or not document.tables:
        return "has no table"
    return f"has no table {wish}; its tables are {', '.join(document.tables[:20])}"


def _drained(
    piece: Piece, document: _Document, kept: list[int], first: int
) -> tuple[list[Reject], int, list[pa.Array]]:
    """Take the rows that are whole out of a document."""
    fields = [document.fields[i] for i in kept]
    if document.kind in {"", "TABLEDATA"}:
        return _drained_texts(document, kept, fields, first)
    if document.kind == "FITS":
        raise piece.wrong("holds its rows as FITS; give that file instead")
    flagged = document.kind == "BINARY2"
    rows, flags, end = [], [], 0
    try:
        for stop, values, bits in cells.records(
            document.fields, bytes(document.binary), flagged=flagged
        ):
            end = stop
            rows.append([values[i] for i in kept])
            flags.append(
                [bool(bits[i // 8] & (128 >> i % 8)) for i in kept] if bits else []
            )
    except Unreadable as error:
        raise piece.wrong(str(error), row=first + len(rows)) from error
    del document.binary[:end]
    if document.ended and (document.binary or document.cut):
        raise piece.wrong("its rows end within one", row=first + len(rows))
    arrays = [
        cells.from_bytes(
            field,
            [row[i] for row in rows],
            [row[i] for row in flags] if flagged else None,
        )
        for i, field in enumerate(fields)
    ]
    return [], len(rows), arrays


def _drained_texts(
    document: _Document, kept: list[int], fields: list[Field], first: int
) -> tuple[list[Reject], int, list[pa.Array]]:
    rows, count = document.rows, len(document.fields)
    document.rows = []
    rejects = [
        Reject(
            first + i,
            "",
            shown(" ".join(row)),
            f"has {len(row)} values for {count} columns",
        )
        for i, row in enumerate(rows)
        if len(row) != count
    ]
    good = [row for row in rows if len(row) == count] if rejects else rows
    arrays = [
        cells.from_texts(field, [row[i] for row in good])
        for i, field in zip(kept, fields, strict=True)
    ]
    return rejects, len(good), arrays


def _check(piece: Piece, field: Field) -> None:
    if not field.single:
        kind = f"{field.datatype} {field.arraysize}"
        raise piece.wrong(several(kind), column=field.name)


def _field(said: dict[str, str], number: int) -> Field:
    return Field(
        name=said.get("name") or said.get("ID") or f"col{number + 1}",
        datatype=said.get("datatype", ""),
        arraysize=said.get("arraysize", ""),
        xtype=said.get("xtype", ""),
        unit=said.get("unit", ""),
        ucd=said.get("ucd", ""),
    )


def _status(said: dict[str, str]) -> str:
    """Return what an INFO says of a query: OK, ERROR or OVERFLOW."""
    named = said.get("name", "").upper() == "QUERY_STATUS"
    return said.get("value", "").upper() if named else ""


def _refuse_entity(*_: object) -> None:
    raise _Refused("it has entities of its own")
