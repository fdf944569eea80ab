"""Files of Arrow rows: IPC record batch messages one after another, as on the wire.

The schema is kept by whoever knows the file, so that messages go from a stream to a
file and from a file to a stream as they are. Reading maps the file into memory and
copies nothing.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa
import pyarrow.ipc

from qserv.errors import CorruptData, TaskFailed

__all__ = ["load", "messages", "stream"]

_SCHEMA: Final = "schema"


def load(paths: Iterable[str], schema: pa.Schema) -> pa.Table:
    """Map files into memory as one table.

    Parameters
    ----------
    paths
        Of the files; one may begin with its schema and end with the mark of a stream.
    schema
        Of all of them.

    Raises
    ------
    CorruptData
        If a file holds anything but rows of that schema.
    TaskFailed
        If a file is gone.
    """
    found = [
        pa.ipc.read_record_batch(message, schema)
        for path in paths
        for message, _ in _messages(path)
        if message.type != _SCHEMA
    ]
    return pa.Table.from_batches(found, schema)


def messages(path: str) -> Iterator[pa.Buffer]:
    """Yield the bytes of each message of a file, in order; raises as `load`."""
    for _, data in _messages(path):
        yield data


def stream(rows: pa.Table) -> bytes:
    """Return rows as an Arrow IPC stream, which `load` reads too."""
    made = pa.BufferOutputStream()
    with pa.ipc.new_stream(made, rows.schema) as writer:
        writer.write_table(rows)
    return bytes(made.getvalue())


def _messages(path: str) -> Iterator[tuple[pa.ipc.Message, pa.Buffer]]:
    whole = _mapped(path)
    reader = pa.BufferReader(whole)
    while (start := reader.tell()) < whole.size:
        try:
            message = pa.ipc.read_message(reader)
        except (pa.ArrowException, EOFError, OSError) as error:
            if reader.tell() == whole.size and isinstance(error, EOFError):
                return
            raise CorruptData(f"rows on the worker are unreadable: {error}") from error
        yield message, whole.slice(start, reader.tell() - start)


def _mapped(path: str) -> pa.Buffer:
    try:
        return pa.memory_map(path).read_buffer()
    except OSError:
        raise TaskFailed(
            "rows that a query keeps on this worker are gone: it has ended or stops"
        ) from None
