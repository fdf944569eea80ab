"""Where copies are, and how far they are from what is wanted."""

from dataclasses import dataclass

from qserv.wire.v1 import czar_pb2 as pb


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker as the czar knows it.

    Parameters
    ----------
    id, endpoint
        Who it is, and where it listens.
    alive, seen
        Whether it counts as alive; seconds since its last sign of life.
    chunks, size
        Chunks that queries ask it for; bytes of its files.
    threads
        Of DuckDB.
    disk_free, disk_total
        Bytes that its disk may still take (-1: not known), and has.
    state
        ``active``, ``draining`` or ``lost``.
    """

    id: str
    endpoint: str
    alive: bool
    seen: float
    chunks: int
    threads: int
    disk_free: int = -1
    disk_total: int = 0
    state: str = "active"
    size: int = 0


@dataclass(frozen=True, slots=True)
class CopyUnderWay:
    """Files on their way to a worker: `done` of `size` bytes have come."""

    worker: str
    family: str
    files: int
    size: int
    done: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Replication:
    """How far copies are from what is wanted.

    Parameters
    ----------
    files
        That any snapshot reads.
    missing, missing_size
        Copies that are to be made, and their bytes.
    surplus
        Copies that are to be dropped.
    under
        Chunks with fewer copies, on workers that answer, than are wanted.
    rate, left
        Bytes a second; seconds that it takes at this rate, None where nobody knows.
    copies
        What is under way.
    troubles
        What did not work, and is tried again.
    """

    files: int = 0
    missing: int = 0
    missing_size: int = 0
    surplus: int = 0
    under: int = 0
    rate: float = 0.0
    left: float | None = None
    copies: tuple[CopyUnderWay, ...] = ()
    troubles: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether everything is where it shall be, and on workers that answer."""
        return not (self.missing or self.surplus or self.under or self.copies)


@dataclass(frozen=True, slots=True)
class FamilyPlacement:
    """The copies of one family.

    Parameters
    ----------
    name
        Its name.
    chunks
        Leaves of its tree.
    replicas
        Copies that are wanted of each.
    under, unavailable
        Chunks with fewer copies, and with none, on workers that answer.
    """

    name: str
    chunks: int
    replicas: int
    under: int
    unavailable: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Which workers hold how much of some families."""

    workers: tuple[WorkerStatus, ...]
    families: tuple[FamilyPlacement, ...]
    replication: Replication


def worker_of(message: pb.WorkerStatus) -> WorkerStatus:
    """Turn the czar's message into a value."""
    return WorkerStatus(
        id=message.worker_id,
        endpoint=message.endpoint,
        alive=message.alive,
        seen=message.seconds_since_seen,
        chunks=message.chunks,
        threads=message.threads,
        disk_free=message.disk_free,
        disk_total=message.disk_total,
        state=message.state,
        size=message.size,
    )


def replication_of(message: pb.Replication) -> Replication:
    """Turn the czar's message into a value."""
    return Replication(
        files=message.files,
        missing=message.missing,
        missing_size=message.missing_size,
        surplus=message.surplus,
        under=message.under_replicated,
        rate=message.rate,
        left=message.seconds_left if message.seconds_left >= 0 else None,
        copies=tuple(
            CopyUnderWay(
                worker=copy.worker_id,
                family=copy.family,
                files=copy.files,
                size=copy.size,
                done=copy.size_done,
                seconds=copy.seconds,
            )
            for copy in message.copies
        ),
        troubles=tuple(message.troubles),
    )


def placement_of(reply: pb.ShowPlacementReply) -> Placement:
    """Turn the czar's message into values."""
    return Placement(
        workers=tuple(map(worker_of, reply.workers)),
        families=tuple(
            FamilyPlacement(
                name=family.name,
                chunks=family.chunks,
                replicas=family.replicas,
                under=family.under_replicated,
                unavailable=family.unavailable,
            )
            for family in reply.families
        ),
        replication=replication_of(reply.replication),
    )
