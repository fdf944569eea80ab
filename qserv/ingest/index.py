"""An index: key -> home, written in shards by key, asked over the wire.

Of a director it is on its key, of a child on the id that it declares.
"""

from dataclasses import dataclass
from typing import Final

import grpc
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qserv.errors import InvalidRequest, QservError, WorkerUnavailable
from qserv.ingest.peers import channel
from qserv.wire.errors import from_rpc
from qserv.wire.messages import keys_to_proto, value_from_proto
from qserv.wire.v1 import czar_pb2, worker_pb2, worker_pb2_grpc

SHARD_ROWS: Final = 5_000_000
"""Rows of a shard at most."""

_SMALL_SHARD_ROWS: Final = 20_000
_FEW_SHARDS: Final = 4
_KEYS_A_CALL: Final = 100_000
_DEADLINE: Final = 60.0

Integers = npt.NDArray[np.int64]


def shard_count(rows: int) -> int:
    """Return how many index shards `rows` rows make.

    At most `SHARD_ROWS` a shard; a small table is still cut into a few, so that
    several workers answer for it.
    """
    enough = -(-rows // SHARD_ROWS)
    return max(enough, min(_FEW_SHARDS, -(-rows // _SMALL_SHARD_ROWS)))


@dataclass(frozen=True, slots=True)
class LiveIndex:
    """The index of a table as it is live.

    Parameters
    ----------
    release
        The release.
    existing
        What the czar said of the table.
    """

    release: str
    existing: czar_pb2.ExistingTable

    def homes(self, keys: pa.Array) -> Integers:
        """Return the home of each key, -1 where there is none.

        Parameters
        ----------
        keys
            int64 or string; NULL has no home.

        Raises
        ------
        InvalidRequest
            If the live keys are text and these are not, or the other way round.
        WorkerUnavailable
            If no worker answers for a shard.
        """
        distinct = pc.unique(keys.drop_null())
        homes = np.full(len(distinct), -1, dtype=np.int64)
        for shard in self.existing.index:
            inside = _between(distinct, shard)
            for start in range(0, len(inside), _KEYS_A_CALL):
                part = inside[start : start + _KEYS_A_CALL]
                found = self._ask(shard, distinct.take(pa.array(part)))
                homes[part] = np.maximum(homes[part], found)
        at = pc.fill_null(pc.index_in(keys, value_set=distinct), -1).to_numpy()
        by_row: Integers = np.append(homes, -1)[at]
        return by_row

    def _ask(self, shard: czar_pb2.IndexShardLocation, keys: pa.Array) -> Integers:
        request = worker_pb2.LookupRequest(
            release=self.release,
            table=self.existing.name,
            manifest_version=self.existing.manifest_version,
            shards=[shard.shard],
            keys=keys_to_proto(keys.to_pylist()),
        )
        failures: list[QservError] = []
        for worker in shard.workers:
            stub = worker_pb2_grpc.WorkerStub(channel(worker.endpoint))
            try:
                reply = stub.LookupKeys(request, timeout=_DEADLINE)
            except grpc.RpcError as error:
                failures.append(from_rpc(error, worker.endpoint))
            else:
                return np.asarray(reply.homes, dtype=np.int64)
        raise WorkerUnavailable(
            f"nobody answers for index shard {shard.shard} of {self.release}."
            f"{self.existing.name}: {'; '.join(f.text for f in failures)}"
        )


def _between(keys: pa.Array, shard: czar_pb2.IndexShardLocation) -> Integers:
    low, high = value_from_proto(shard.low), value_from_proto(shard.high)
    if pa.types.is_string(keys.type) != isinstance(low, str):
        raise InvalidRequest(
            f"keys are {keys.type}, but the table's live keys are like {low!r}"
        )
    inside = pc.and_(pc.greater_equal(keys, low), pc.less_equal(keys, high))
    return np.flatnonzero(inside.to_numpy(zero_copy_only=False)).astype(np.int64)
