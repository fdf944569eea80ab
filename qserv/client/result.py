"""The answer to one query, streamed: header, data and progress, trailer.

Rows count only once the trailer has come and its digest fits the bytes received; a
stream that ends before raises, however many rows it gave.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, cast

import grpc
import pyarrow as pa
from typing_extensions import override

from qserv.catalog.tables import Column
from qserv.errors import CorruptData, InternalError, InvalidRequest
from qserv.wire.codec import Digest, columns_of, decode_batch, decode_schema
from qserv.wire.errors import from_rpc
from qserv.wire.v1 import czar_pb2 as pb

if TYPE_CHECKING:
    import pandas as pd
    from astropy.table import Table


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a query is: chunks read of how many, rows that came out."""

    chunks_done: int
    chunks: int
    rows: int


class FrameStream(Protocol):
    """What a result reads: a gRPC response stream."""

    def __next__(self) -> pb.ResultFrames:
        """Return the next frame."""

    def cancel(self) -> bool:
        """Stop the stream."""


class Result:
    """The rows of one query.

    Iterating yields `pyarrow.RecordBatch` as they arrive and keeps none of them;
    `to_arrow` and its kin read the rest and keep it.

    Parameters
    ----------
    call
        The stream of frames.
    peer
        The czar's endpoint, for messages.
    progress
        Called with each progress frame.

    Attributes
    ----------
    columns
        Names, types, units and meanings of the columns.
    query_id, release, snapshot
        What was asked of whom; the snapshot that it reads.
    chunks, chunks_total
        Chunks that are read, of how many the tree has.
    """

    def __init__(
        self,
        call: FrameStream,
        *,
        peer: str,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._call = call
        self._peer = peer
        self._progress = progress
        self._arrived: deque[pb.ResultFrame] = deque()
        self._digest = Digest()
        self._rows = 0
        self._trailer: pb.ResultTrailer | None = None
        self._table: pa.Table | None = None
        self._streamed = False
        header = self._header()
        self.schema: pa.Schema = decode_schema(header.schema)
        self.columns: tuple[Column, ...] = columns_of(self.schema)
        self.query_id = header.query_id
        self.release = header.release
        self.snapshot = header.snapshot
        self.chunks = header.chunks
        self.chunks_total = header.chunks_total
        self._batches = self._receive()

    def _header(self) -> pb.ResultHeader:
        frame = self._next()
        if frame is None or frame.WhichOneof("frame") != "header":
            self.close()
            raise InternalError(f"{self._peer} sent a result without a header")
        return frame.header

    def _next(self) -> pb.ResultFrame | None:
        try:
            while not self._arrived:
                self._arrived.extend(next(self._call).frames)
            return self._arrived.popleft()
        except StopIteration:
            return None
        except grpc.RpcError as error:
            raise from_rpc(error, self._peer, czar=True) from None

    def _receive(self) -> Iterator[pa.RecordBatch]:
        try:
            while (frame := self._next()) is not None:
                match frame.WhichOneof("frame"):
                    case "data":
                        yield self._decode(frame.data.record_batch)
                    case "progress":
                        self._report(frame.progress)
                    case "trailer":
                        self._finish(frame.trailer)
                    case other:
                        raise InternalError(f"{self._peer} sent a {other} frame late")
            if self._trailer is None:
                raise CorruptData(
                    f"{self._peer}: the answer to query {self.query_id} ended before "
                    "its trailer; discard what came and ask again"
                )
        finally:
            self.close()

    def _decode(self, message: bytes) -> pa.RecordBatch:
        self._digest.update(message)
        batch = decode_batch(message, self.schema)
        self._rows += batch.num_rows
        return batch

    def _report(self, frame: pb.ResultProgress) -> None:
        if self._progress is not None:
            self._progress(Progress(frame.chunks_done, frame.chunks, frame.rows))

    def _finish(self, trailer: pb.ResultTrailer) -> None:
        if trailer.digest != self._digest.value() or trailer.rows != self._rows:
            raise CorruptData(
                f"{self._peer}: the answer to query {self.query_id} was damaged on "
                f"the way ({self._rows} rows came, {trailer.rows} were sent); ask again"
            )
        self._trailer = trailer

    @override
    def __repr__(self) -> str:
        names = ", ".join(column.name for column in self.columns)
        how = "read" if self.complete else "to be read: to_pandas(), to_astropy() …"
        return f"<Result of {names}; {how}>"

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._table is not None:
            yield from self._table.to_batches()
            return
        self._streamed = True
        yield from self._batches

    def to_arrow(self) -> pa.Table:
        """Return all rows as one Arrow table; fields carry unit, ucd, description.

        Raises
        ------
        CorruptData
            If the stream ended early or was damaged.
        InvalidRequest
            If rows were already streamed by iteration.
        """
        if self._table is None:
            if self._streamed:
                raise InvalidRequest(
                    "the rows of this result were streamed and are gone; run the "
                    "query again, or collect the batches yourself"
                )
            self._table = pa.Table.from_batches(list(self), schema=self.schema)
        return self._table

    def to_pandas(self) -> "pd.DataFrame":
        """Return all rows as a pandas DataFrame."""
        return cast("pd.DataFrame", self.to_arrow().to_pandas())

    def to_astropy(self) -> "Table":
        """Return all rows as an astropy table: units set, NULL masked."""
        from qserv.client.astropy_table import astropy_table

        return astropy_table(self.to_arrow(), self.columns)

    @property
    def rows(self) -> int:
        """Rows received so far."""
        return self._rows

    @property
    def complete(self) -> bool:
        """Whether the trailer has come and everything was checked."""
        return self._trailer is not None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the czar has to say about the answer; known once it is complete."""
        return tuple(self._ended().warnings)

    @property
    def overflow(self) -> bool:
        """Whether ``max_rows`` cut the answer; known once it is complete."""
        return self._ended().overflow

    @property
    def seconds(self) -> float:
        """Time that the czar took, first to last byte; known once complete."""
        return self._ended().microseconds / 1e6

    @property
    def steps(self) -> dict[str, float]:
        """Seconds by step of the czar's work; known once the answer is complete."""
        steps = self._ended().microseconds_by_step
        return {name: microseconds / 1e6 for name, microseconds in steps.items()}

    @property
    def bytes_scanned(self) -> int:
        """Bytes that workers read; known once the answer is complete."""
        return self._ended().bytes_scanned

    def _ended(self) -> pb.ResultTrailer:
        if self._trailer is None:
            raise InvalidRequest(
                "this is known only when all rows were read: call to_arrow() first"
            )
        return self._trailer

    def close(self) -> None:
        """Stop the query if it still runs."""
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
