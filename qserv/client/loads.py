"""Loads as a client sees them: under way, and in the history."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from qserv.wire.errors import from_rpc
from qserv.wire.v1 import czar_pb2 as pb

if TYPE_CHECKING:
    from qserv.wire.v1.czar_pb2_grpc import CzarStub

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class LoadStatus:
    """A load.

    Parameters
    ----------
    id
        Part of the name of every file that it made.
    release, family, tables
        What it goes into.
    state
        ``begun``, ``placed``, ``contributing``, ``committing``, ``committed`` or
        ``aborted``.
    who, pipeline, configuration, input_ids
        Who loads, with what, of which configuration, made of what.
    begun, ended
        UTC, ISO 8601; empty where it is not known, or has not ended.
    reason
        Why it was aborted, or is not committed yet.
    snapshot
        The first that shows it; None where none does.
    rows, rejected
        Rows read, and left out.
    attempt
        Which loader in turn it has; 0 once it ended.
    silence
        Seconds since its loader was heard of.
    expires
        Seconds of silence after which it is given up; None where it has ended.
    phase, table, done, total
        What its loader does, and rows done and to do (0: not known) there.
    rate, left
        Rows a second, and seconds to the end of the phase; None where nobody knows.
    files
        Files that workers acknowledged.
    replaced
        Tables of which all or some goes, or went, when it commits.
    again
        Rows that they had and that it read again, once it is committed.
    """

    id: str
    release: str
    family: str
    tables: tuple[str, ...]
    state: str
    who: str
    pipeline: str
    configuration: str
    input_ids: tuple[str, ...]
    begun: str
    ended: str
    reason: str
    snapshot: int | None
    rows: int
    rejected: int
    attempt: int = 0
    silence: float = 0.0
    expires: float | None = None
    phase: str = ""
    table: str = ""
    done: int = 0
    total: int = 0
    rate: float = 0.0
    left: float | None = None
    files: int = 0
    replaced: tuple[str, ...] = ()
    again: int = 0

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in {"committed", "aborted"}


@dataclass(frozen=True, slots=True)
class InputStatus:
    """A file that a load read; see `qserv.catalog.provenance.Contribution`."""

    number: int
    table: str
    source: str
    sha256: str
    rows: int
    nulled: int
    wrapped: int
    rejected: int
    gone: int = 0


@dataclass(frozen=True, slots=True)
class LoadHistory:
    """A load, and what each of its files brought."""

    load: LoadStatus
    inputs: tuple[InputStatus, ...] = field(repr=False)


class Loads:
    """Looks at loads; see `qserv.client.connection.Connection.loads`.

    Parameters
    ----------
    call
        Makes one call, with typed errors.
    czar
        The calls that there are.
    endpoint
        ``host:port`` of the czar.
    """

    def __init__(
        self, call: Callable[..., Any], czar: "CzarStub", endpoint: str
    ) -> None:
        self._call = call
        self._czar = czar
        self._endpoint = endpoint

    def __call__(
        self, release: str = "", *, every: bool = False
    ) -> tuple[LoadStatus, ...]:
        """Return the loads under way and the last that ended, the newest first.

        Parameters
        ----------
        release
            Only those into this release; empty: into any.
        every
            Whether to return all that ever ended.
        """
        request = pb.ListLoadsRequest(release=release, all=every)
        return self._pages(_loads, request)

    def show(self, load: str) -> LoadHistory:
        """Return a load with what each of its files brought.

        Raises
        ------
        UnknownName
            If there never was one of that id.
        """
        return self._pages(_history, pb.ListLoadsRequest(load=load))

    def abort(self, load: str, reason: str) -> None:
        """End a load that is under way: its workers forget it, its loader stops.

        Raises
        ------
        Conflict
            If it is committed, or just being published.
        """
        self._call(self._czar.Abort, pb.AbortRequest(transaction=load, reason=reason))

    def _pages(
        self,
        read: Callable[[Iterable[pb.ListLoadsReply]], _T],
        request: pb.ListLoadsRequest,
    ) -> _T:
        try:
            return read(self._czar.ListLoads(request))
        except grpc.RpcError as error:
            raise from_rpc(error, self._endpoint, czar=True) from None


def load_of(message: pb.LoadDescription) -> LoadStatus:
    """Turn the czar's message into a value."""
    return LoadStatus(
        id=message.id,
        release=message.release,
        family=message.family,
        tables=tuple(message.tables),
        state=message.state,
        who=message.who,
        pipeline=message.pipeline,
        configuration=message.configuration,
        input_ids=tuple(message.input_ids),
        begun=message.begun,
        ended=message.ended,
        reason=message.reason,
        snapshot=message.snapshot or None,
        rows=message.rows,
        rejected=message.rejected,
        attempt=message.attempt,
        silence=message.silence,
        expires=message.expires if message.attempt else None,
        phase=message.phase,
        table=message.table,
        done=message.done,
        total=message.total,
        rate=message.rate,
        left=None if message.left < 0 else message.left,
        files=message.files,
        replaced=tuple(message.replaced),
        again=message.again,
    )


def _loads(pages: Iterable[pb.ListLoadsReply]) -> tuple[LoadStatus, ...]:
    """Turn the czar's pages into loads."""
    return tuple(load_of(load) for page in pages for load in page.loads)


def _history(pages: Iterable[pb.ListLoadsReply]) -> LoadHistory:
    """Turn the czar's pages of one load into a value."""
    known = list(pages)
    (load,) = _loads(known)
    return LoadHistory(
        load,
        tuple(
            InputStatus(
                number=each.number,
                table=each.table,
                source=each.source,
                sha256=each.sha256.hex(),
                rows=each.rows,
                nulled=each.nulled,
                wrapped=each.wrapped,
                rejected=each.rejected,
                gone=each.gone,
            )
            for page in known
            for each in page.contributions
        ),
    )
