"""Resolves restrictors to the homes of their keys, by the shards of the index."""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import grpc.aio
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qserv.catalog.snapshot import Family, IndexShard, Snapshot, TableVersion
from qserv.czar.members import Members
from qserv.errors import ClusterError, WorkerUnavailable
from qserv.plan.plan import (
    FoundRestrictor,
    KeyedRestrictor,
    KeyRangeRestrictor,
    KeyRestrictor,
)
from qserv.serving import aside
from qserv.sky.healpix import ORDER
from qserv.wire.errors import from_rpc
from qserv.wire.messages import keys_to_proto
from qserv.wire.v1 import common_pb2, worker_pb2

Homes = npt.NDArray[np.int64]
Key = int | str


_REMEMBERED: Final = 100_000
"""Keys whose homes are kept: who asks for an object asks for its light curve next."""

_FOUND: Final = 100_000
"""Keys found by an earlier stage, beyond which nearly every chunk is some key's home:
looking them up costs more than reading the chunks."""


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
        self,
        restrictors: Iterable[KeyedRestrictor],
        snapshot: Snapshot,
        found: Mapping[int, pa.Table],
    ) -> dict[KeyedRestrictor, Homes]:
        """Find the homes of all keys that restrict a fragment.

        Parameters
        ----------
        restrictors
            They name the director tables.
        snapshot
            The one that the plan was made against.
        found
            The rows of the earlier stages that restrictors name, by number.

        Returns
        -------
        dict
            Order-29 pixels, distinct, in the leaves in which the keys that exist have
            their homes, or where there is a reach the homes themselves. What no index
            can tell is left out: it limits nothing.

        Raises
        ------
        WorkerUnavailable
            If no holder of a shard answers.
        """
        known = {each: await self._of(each, snapshot, found) for each in restrictors}
        return {each: homes for each, homes in known.items() if homes is not None}

    async def _of(
        self,
        restrictor: KeyedRestrictor,
        snapshot: Snapshot,
        found: Mapping[int, pa.Table],
    ) -> Homes | None:
        version = snapshot.table(restrictor.release, restrictor.table)
        family = snapshot.family(restrictor.release)
        if version.rows and not version.index:
            return None
        match restrictor:
            case KeyRestrictor():
                return await self._homes(version, restrictor.keys)
            case KeyRangeRestrictor():
                return await self._homes_between(version, family, restrictor)
            case FoundRestrictor():
                column = found[restrictor.stage][restrictor.column]
                keys = await aside(column.nbytes, _distinct, column)
                return None if keys is None else await self._homes(version, keys)

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
        lookups = [
            self._lookup(version, shard, keys=keys_to_proto(within))
            for shard, within in asked
        ]
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

    async def _homes_between(
        self, version: TableVersion, family: Family, wanted: KeyRangeRestrictor
    ) -> Homes:
        low, high = wanted.low, wanted.high
        order = ORDER if wanted.reach else int(max(family.tree.orders))
        lookups = [
            self._lookup(version, shard, low=low, high=high, order=order)
            for shard in version.index
            if not isinstance(shard.low, str) and not isinstance(shard.high, str)
            if shard.low <= high and low <= shard.high
        ]
        answers = await asyncio.gather(*lookups)
        homes = [np.array(answer, np.int64) for answer in answers]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *homes]))

    async def _lookup(
        self,
        version: TableVersion,
        shard: IndexShard,
        *,
        keys: common_pb2.Keys | None = None,
        low: int | None = None,
        high: int | None = None,
        order: int | None = None,
    ) -> Collection[int]:
        request = worker_pb2.LookupRequest(
            release=version.release,
            table=version.table.name,
            manifest_version=version.manifest_version,
            shards=[shard.shard],
            keys=keys,
            low=low,
            high=high,
            order=order,
        )
        reasons = []
        for worker in shard.workers:
            try:
                return await self._ask(worker, request)
            except ClusterError as error:
                reasons.append(error.text)
        raise WorkerUnavailable(
            f"nobody answers for shard {shard.shard} of the index of {version.release}."
            f"{version.table.name}: {'; '.join(reasons)}"
        )

    async def _ask(
        self, worker: str, request: worker_pb2.LookupRequest
    ) -> Collection[int]:
        member = self._members.get(worker)
        try:
            reply = await member.stub.LookupKeys(request)
        except grpc.aio.AioRpcError as error:
            typed = from_rpc(error, member.endpoint)
            if isinstance(typed, WorkerUnavailable):
                self._members.lost(worker, typed)
            raise typed from error
        return reply.homes


def _distinct(column: pa.ChunkedArray) -> list[Key] | None:
    """Return the keys in a column; None if they are too many, or in no index."""
    if not (pa.types.is_integer(column.type) or pa.types.is_string(column.type)):
        return None
    keys = pc.unique(column).drop_null()
    return None if len(keys) > _FOUND else keys.to_pylist()


def _within(shard: IndexShard, key: Key) -> bool:
    if isinstance(key, str) or isinstance(shard.low, str):
        return str(shard.low) <= str(key) <= str(shard.high)
    return shard.low <= key <= shard.high  # type: ignore[operator]
