"""Says every few seconds that a load's loader is there, and how far it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Final

from qserv.errors import QservError, UserError
from qserv.ingest.peers import Czar
from qserv.ingest.progress import Meter
from qserv.wire.v1 import czar_pb2 as pb

_SHARE: Final = 6
"""Signs of life in a lease: several may be lost."""


@contextmanager
def kept(czar: Czar, begun: pb.BeginReply, meter: Meter) -> Iterator[None]:
    """Keep a load alive in the block.

    Raises
    ------
    Conflict
        At the end of the block, in place of what went wrong in it, if another loader
        went on in this one's place.
    """
    ended = Event()
    refused: list[QservError] = []

    def keep() -> None:
        while not ended.wait(begun.lease / _SHARE or 1.0):
            try:
                czar.keep(_sign(begun, meter))
            except UserError as error:
                refused.append(error)
                return
            except QservError:
                continue  # a czar that restarts, or is slow, knows the load again

    thread = Thread(target=keep, name="keep-load", daemon=True)
    thread.start()
    try:
        yield
    except QservError as error:
        if refused:
            raise refused[0] from error
        raise
    finally:
        ended.set()
        thread.join()


def _sign(begun: pb.BeginReply, meter: Meter) -> pb.KeepRequest:
    now = meter.now
    return pb.KeepRequest(
        transaction=begun.transaction,
        attempt=begun.attempt,
        phase=now.phase,
        table=now.table,
        rows=now.rows,
        total_rows=now.total_rows or 0,
        size=now.size,
        seconds=meter.elapsed,
    )
