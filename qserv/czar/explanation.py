"""What EXPLAIN answers: the lines of a text, as rows of one column."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

import pyarrow as pa

from qserv.catalog.tables import Column, DataType
from qserv.czar.results import Frame, Message, Request
from qserv.dialects.statements import Mode, explained
from qserv.wire.codec import arrow_schema, decode_batch, encode_batches

COLUMNS: Final = (
    Column("plan", DataType.VARCHAR, description="How the query is answered."),
)
_SCHEMA: Final = arrow_schema(COLUMNS)


def asked(request: Request) -> Request:
    """Take EXPLAIN off the text of a request; a mode that it has already stays."""
    mode, text = explained(request.text)
    if request.mode is not Mode.RUN:
        mode = request.mode
    return replace(request, text=text, mode=mode)


def messages(text: str) -> Iterator[Message]:
    """Return a text as rows, one for each line."""
    table = pa.table([text.split("\n")], schema=_SCHEMA)
    for data in encode_batches(table):
        yield Message(data, decode_batch(data, _SCHEMA))


def text_of(frames: Iterable[Frame]) -> str:
    """Return the text again from the frames of an answer."""
    batches = [decode_batch(f, _SCHEMA) for f in frames if isinstance(f, bytes)]
    return "\n".join(pa.Table.from_batches(batches, _SCHEMA)["plan"].to_pylist())
