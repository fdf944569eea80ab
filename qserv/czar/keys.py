"""Resolves a plan's keys to their homes, by the shards of the director index."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

import grpc.aio
import numpy as np
import numpy.typing as npt

from qserv.catalog.snapshot import IndexShard, Snapshot, TableVersion
from qserv.czar.members import Members
from qserv.errors import ClusterError, WorkerUnavailable
from qserv.plan.plan import KeyRestrictor, Plan
from qserv.sky.chunking import pixel_ranges
from qserv.wire.errors import from_rpc
from qserv.wire.messages import keys_to_proto
from qserv.wire.v1 import worker_pb2

Homes = npt.NDArray[np.int64]
Key = int | str


_REMEMBERED: Final = 100_000
"""Keys whose homes are kept: who asks for an object asks for its light curve next."""


class Resolver:
    """Finds the homes of keys, and remembers the last ones.

    An index at one manifest version never changes, so what it once said stays true.

    Parameters
    ----------
    members
        Each shard is asked of one live worker, then of the next.
    """

    def __init__(self, members: Members) -> None:
        self._members = members
        self._known: OrderedDict[tuple[str, str, int, Key], int] = OrderedDict()

    async def resolve(
        self, plan: Plan, snapshot: Snapshot
    ) -> dict[KeyRestrictor, Homes]:
        """Find the homes of all keys that restrict a plan.

        Parameters
        ----------
        plan
            Its key restrictors name the director tables.
        snapshot
            The one that the plan was made against.

        Returns
        -------
        dict
            The homes (order-29 pixels, distinct) of the keys that exist; where a table
            with rows has no index, a pixel of every leaf.

        Raises
        ------
        WorkerUnavailable
            If no holder of a shard answers.
        """
        restrictors = plan.fragment.restrictors if plan.fragment else ()
        homes = {}
        for restrictor in restrictors:
            if isinstance(restrictor, KeyRestrictor):
                version = snapshot.table(restrictor.release, restrictor.table)
                if version.rows and not version.index:
                    leaves = snapshot.family(restrictor.release).tree.chunks
                    homes[restrictor] = pixel_ranges(leaves)[:, 0]
                else:
                    homes[restrictor] = await self._homes(version, restrictor.keys)
        return homes

    async def _homes(self, version: TableVersion, keys: Sequence[Key]) -> Homes:
        table = (version.release, version.table.name, version.manifest_version)
        found = {key: self._known.get((*table, key)) for key in keys}
        unknown = [key for key, home in found.items() if home is None]
        if unknown:
            found |= await self._ask_shards(version, unknown)
        for key, home in found.items():
            self._remember((*table, key), -1 if home is None else home)
        homes = [home for home in found.values() if home is not None and home >= 0]
        return np.unique(np.array(homes, np.int64))

    def _remember(self, name: tuple[str, str, int, Key], home: int) -> None:
        self._known[name] = home
        self._known.move_to_end(name)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    async def _ask_shards(
        self, version: TableVersion, keys: Sequence[Key]
    ) -> dict[Key, int]:
        asked = [
            (shard, within)
            for shard in version.index
            if (within := [key for key in keys if _within(shard, key)])
        ]
        lookups = [_lookup(version, s, within, self._members) for s, within in asked]
        # A point query has one lookup: no task is made for it.
        answers = (
            [await lookups[0]] if len(lookups) == 1 else await asyncio.gather(*lookups)
        )
        homes: dict[Key, int] = {}
        for (_, within), answer in zip(asked, answers, strict=True):
            for key, home in zip(within, answer, strict=True):
                # Shards of several loads may overlap; a key is in one of them.
                homes[key] = max(home, homes.get(key, -1))
        return homes


def _within(shard: IndexShard, key: Key) -> bool:
    if isinstance(key, str) or isinstance(shard.low, str):
        return str(shard.low) <= str(key) <= str(shard.high)
    return shard.low <= key <= shard.high  # type: ignore[operator]


async def _lookup(
    version: TableVersion, shard: IndexShard, keys: Sequence[Key], members: Members
) -> Iterable[int]:
    request = worker_pb2.LookupRequest(
        release=version.release,
        table=version.table.name,
        manifest_version=version.manifest_version,
        shards=[shard.shard],
        keys=keys_to_proto(keys),
    )
    reasons = []
    for worker in shard.workers:
        try:
            return await _ask(members, worker, request)
        except ClusterError as error:
            reasons.append(error.text)
    raise WorkerUnavailable(
        f"nobody answers for shard {shard.shard} of the index of {version.release}."
        f"{version.table.name}: {'; '.join(reasons)}"
    )


async def _ask(
    members: Members, worker: str, request: worker_pb2.LookupRequest
) -> Iterable[int]:
    member = members.get(worker)
    try:
        reply = await member.stub.LookupKeys(request)
    except grpc.aio.AioRpcError as error:
        typed = from_rpc(error, member.endpoint)
        if isinstance(typed, WorkerUnavailable):
            members.lost(worker, typed)
        raise typed from error
    return reply.homes
