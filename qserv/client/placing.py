"""What an operator may say of workers and copies."""

from collections.abc import Callable
from typing import Any

from qserv.client.placement import Placement, placement_of
from qserv.wire.v1 import czar_pb2 as pb
from qserv.wire.v1.czar_pb2_grpc import CzarStub


class Placements:
    """Shows and changes which workers hold what; copies follow in the background.

    Parameters
    ----------
    call
        Calls a method of the czar and raises typed errors.
    czar
        Its methods.
    """

    def __init__(self, call: Callable[..., Any], czar: CzarStub) -> None:
        self._call = call
        self._czar = czar

    def show(self, family: str = "") -> Placement:
        """Return which workers hold how much of a family; empty: of all.

        Raises
        ------
        UnknownName
            If there is no such family.
        """
        request = pb.ShowPlacementRequest(family=family)
        return placement_of(self._call(self._czar.ShowPlacement, request))

    def drain(self, worker: str) -> str:
        """Have others take over what a worker holds; return what happens now.

        Raises
        ------
        UnknownName
            If there is no such worker.
        Conflict
            If the others are too few.
        """
        return self._change(pb.ChangePlacementRequest(drain=worker))

    def readmit(self, worker: str) -> str:
        """Let a worker that was drained or given up hold chunks again.

        Raises
        ------
        UnknownName
            If there is no such worker.
        """
        return self._change(pb.ChangePlacementRequest(readmit=worker))

    def lost(self, worker: str, *, force: bool = False) -> str:
        """Give a worker up for ever; its copies are made again from others.

        Parameters
        ----------
        worker
            Its id.
        force
            Even if it is alive, or has the only copy of something.

        Raises
        ------
        UnknownName
            If there is no such worker.
        Conflict
            If it is alive; or if rows would be lost: says of which tables and chunks.
        """
        lost = pb.LostWorker(worker_id=worker, force=force)
        return self._change(pb.ChangePlacementRequest(lost=lost))

    def replicas(self, family: str, copies: int) -> str:
        """Change how many workers hold each chunk of a family.

        Raises
        ------
        UnknownName
            If there is no such family.
        InvalidRequest
            If there are not so many workers.
        """
        wanted = pb.FamilyReplicas(family=family, replicas=copies)
        return self._change(pb.ChangePlacementRequest(replicas=wanted))

    def _change(self, request: pb.ChangePlacementRequest) -> str:
        return str(self._call(self._czar.ChangePlacement, request).text)
