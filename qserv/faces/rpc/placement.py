"""Turns what is known of copies into messages."""

import asyncio
from collections.abc import Collection, Iterator

from qserv.czar.members import Members
from qserv.czar.placements import Placements
from qserv.czar.repair import Repair
from qserv.czar.standing import Standing, standing
from qserv.errors import InvalidRequest
from qserv.wire.v1 import czar_pb2


def workers(members: Members, counted: Standing) -> Iterator[czar_pb2.WorkerStatus]:
    """Describe all workers that are alive, hold something, or have a state.

    Parameters
    ----------
    members
        The workers.
    counted
        What they hold.
    """
    for member in members.all.values():
        yield czar_pb2.WorkerStatus(
            worker_id=member.id,
            endpoint=member.endpoint,
            alive=member.alive,
            seconds_since_seen=members.silence(member),
            chunks=counted.chunks[member.id],
            threads=member.threads,
            disk_free=member.disk_free,
            disk_total=member.disk_total,
            state=members.state(member.id),
            size=counted.sizes[member.id],
        )
    # A worker that holds something and has not joined is told of, too.
    held = counted.chunks.keys() | counted.sizes.keys()
    for worker in sorted(held - members.all.keys()):
        yield czar_pb2.WorkerStatus(
            worker_id=worker,
            chunks=counted.chunks[worker],
            disk_free=-1,
            state=members.state(worker),
            size=counted.sizes[worker],
        )


def replication(repair: Repair, counted: Standing) -> czar_pb2.Replication:
    """Describe how far copies are from what is wanted."""
    left = counted.missing_size - sum(way.size for way in repair.under_way.values())
    rate = repair.rate
    return czar_pb2.Replication(
        files=counted.files,
        missing=counted.missing,
        missing_size=counted.missing_size,
        surplus=counted.surplus,
        under_replicated=counted.under,
        rate=rate,
        seconds_left=max(0, left) / rate if rate else -1,
        copies=[
            czar_pb2.CopyUnderWay(
                worker_id=worker,
                family=way.copy.files[0].unit.family,
                files=len(way.copy.files),
                size=way.copy.size,
                size_done=way.size,
                seconds=repair.seconds(way),
            )
            for worker, way in repair.under_way.items()
        ],
        troubles=[f"{worker}: {why}" for worker, why in repair.troubles.items()],
    )


async def shown(
    repair: Repair, members: Members, families: Collection[str] | None
) -> czar_pb2.ShowPlacementReply:
    """Describe the placement of all families, or of some."""
    known = await repair.known()
    counted = await asyncio.to_thread(standing, known.state, known.leaving, families)
    return czar_pb2.ShowPlacementReply(
        workers=workers(members, counted),
        families=[
            czar_pb2.FamilyPlacement(
                name=family.name,
                chunks=family.chunks,
                replicas=family.copies,
                under_replicated=family.under,
                unavailable=family.unavailable,
            )
            for family in counted.families
        ],
        replication=replication(repair, counted),
    )


async def changed(
    placements: Placements, request: czar_pb2.ChangePlacementRequest
) -> str:
    """Do what an operator asks for; return what happens now.

    Raises
    ------
    InvalidRequest
        If it is nothing that is known here.
    """
    match request.WhichOneof("change"):
        case "drain":
            return await placements.drain(request.drain)
        case "readmit":
            return await placements.readmit(request.readmit)
        case "lost":
            lost = request.lost
            return await placements.lost(lost.worker_id, force=lost.force)
        case "replicas":
            wanted = request.replicas
            return await placements.replicas(wanted.family, wanted.replicas)
        case None:
            raise InvalidRequest("say what to change: drain, readmit, lost or replicas")
