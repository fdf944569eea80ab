"""What a cluster says when it is checked: findings, and how far its scrubs are."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc

from qserv.catalog.health import Finding, Level
from qserv.errors import QservError
from qserv.wire.errors import error_from_proto, from_rpc
from qserv.wire.v1 import czar_pb2 as pb

if TYPE_CHECKING:
    from qserv.wire.v1.czar_pb2_grpc import CzarStub

_PATIENCE: Final = 300.0


@dataclass(frozen=True, slots=True)
class Examination:
    """The outcome of all checks.

    Parameters
    ----------
    findings
        At least one of each check.
    clock
        The czar's, seconds since 1970.
    version
        Of the czar's qserv.
    """

    findings: tuple[Finding, ...]
    clock: float
    version: str


@dataclass(frozen=True, slots=True)
class ScrubStep:
    """How far a worker's scrub is, and what it found since the step before.

    Parameters
    ----------
    worker
        Its id.
    files, files_total, size, size_total
        That were read, and are to be read; sizes in bytes.
    damaged
        Bad and missing files, with what was found.
    unknown
        Files that no manifest names.
    trouble
        What else is wrong.
    finished
        Whether this is its last step.
    error
        Why it ended before its end.
    """

    worker: str
    files: int = 0
    files_total: int = 0
    size: int = 0
    size_total: int = 0
    damaged: tuple[tuple[str, str], ...] = ()
    unknown: tuple[str, ...] = ()
    trouble: tuple[str, ...] = ()
    finished: bool = False
    error: QservError | None = field(default=None, compare=False)


def examination_of(reply: pb.ExamineClusterReply) -> Examination:
    """Turn the czar's message into values."""
    findings = (
        Finding(each.check, Level(each.level), each.text, each.remedy, each.scrub)
        for each in reply.findings
    )
    return Examination(tuple(findings), reply.clock, reply.version)


class Checks:
    """Has a cluster checked; see `qserv.client.connection.Connection.checks`.

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

    def examine(self) -> Examination:
        """Check the metadata and all workers; changes nothing."""
        request = pb.ExamineClusterRequest()
        return examination_of(self._call(self._czar.Examine, request, _PATIENCE))

    def scrub(
        self, workers: Sequence[str] = (), *, rate: int = 0
    ) -> Iterator[ScrubStep]:
        """Have workers compare every file that they hold with its checksum.

        Parameters
        ----------
        workers
            Their ids; none: all that are alive.
        rate
            Bytes a second of each; 0: as fast as its disk gives.

        Yields
        ------
        ScrubStep
            How far a worker is. Leaving the loop stops all of them.
        """
        request = pb.ScrubClusterRequest(worker_ids=workers, bytes_per_second=rate)
        call = self._czar.Scrub(request)
        try:
            for reply in call:
                yield _step(reply)
        except grpc.RpcError as error:
            raise from_rpc(error, self._endpoint, czar=True) from None
        finally:
            call.cancel()


def _step(reply: pb.ScrubClusterReply) -> ScrubStep:
    if reply.HasField("error"):
        error = error_from_proto(reply.error)
        return ScrubStep(reply.worker_id, finished=True, error=error)
    at = reply.progress
    return ScrubStep(
        worker=reply.worker_id,
        files=at.files,
        files_total=at.files_total,
        size=at.size,
        size_total=at.size_total,
        damaged=tuple((file.path, file.reason) for file in at.damaged),
        unknown=tuple(at.unknown),
        trouble=tuple(at.trouble),
        finished=at.finished,
    )
