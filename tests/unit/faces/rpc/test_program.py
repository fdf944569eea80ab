"""The czar as a program: what its gRPC face answers before anything is loaded."""

import grpc
import pytest
from support import metadata

from qserv.config import CzarConfig
from qserv.errors import (
    Conflict,
    InvalidRequest,
    MetadataBehind,
    UnknownName,
    UnsupportedQuery,
    WorkerUnavailable,
)
from qserv.faces.rpc.program import serving
from qserv.wire.channel import aio_channel, start_server
from qserv.wire.errors import from_rpc
from qserv.wire.messages import table_to_proto
from qserv.wire.v1 import czar_pb2 as pb
from qserv.wire.v1.common_pb2 import Value
from qserv.wire.v1.czar_pb2_grpc import CzarStub


@pytest.fixture
def config(tmp_path):
    return CzarConfig(directory=tmp_path, port=0)


@pytest.fixture
async def czar(config):
    async with serving(config) as endpoint, aio_channel(endpoint) as channel:
        yield CzarStub(channel)


async def refusal(call):
    answer = call.read() if isinstance(call, grpc.aio.UnaryStreamCall) else call
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    return from_rpc(caught.value, "the czar", czar=True)


async def test_a_worker_joins_and_shows(czar):
    # Somebody must listen there: the czar calls it at once, and would find it dead.
    listens, port = await start_server("127.0.0.1", 0, lambda _: None)
    joining = pb.JoinRequest(endpoint=f"127.0.0.1:{port}", threads=2)
    reply = await czar.Join(joining)
    assert reply.worker_id
    assert reply.cluster_id
    assert (reply.interval, list(reply.open_transactions)) == (1.0, [])
    status = await czar.Status(pb.StatusRequest())
    (worker,) = status.workers
    assert (worker.worker_id, worker.alive, worker.threads) == (
        reply.worker_id,
        True,
        2,
    )
    assert (status.snapshot, len(status.releases)) == (0, 0)
    await listens.stop(None)


async def test_errors_keep_their_class(czar):
    error = await refusal(czar.Query(pb.QueryRequest(text="SELECT a FROM hip.Object")))
    assert isinstance(error, UnknownName)
    question = pb.QueryRequest(text="SELECT 1", parameters=[Value(integer=1)])
    assert isinstance(await refusal(czar.Query(question)), UnsupportedQuery)
    explain = pb.ExplainRequest(query=pb.QueryRequest(text="SELECT a FROM x.y"))
    assert isinstance(await refusal(czar.Explain(explain)), UnknownName)
    old = pb.QueryRequest(text="SELECT a FROM x.y", snapshot=9)
    assert "no snapshot 9" in (await refusal(czar.Query(old))).text
    assert not (await czar.Cancel(pb.CancelRequest(query_id="x"))).found


async def test_a_load_begins_is_open_and_is_given_up(czar):
    asked = pb.BeginRequest(release="hip", tables=[table_to_proto(metadata.OBJECT)])
    begun = await czar.Begin(asked)
    assert begun.overlap == pytest.approx(1 / 60)
    assert (begun.leaf_rows, list(begun.tree), list(begun.tables)) == (10**6, [], [])
    joined = await czar.Join(pb.JoinRequest(endpoint="127.0.0.1:1"))
    assert list(joined.open_transactions) == [begun.transaction]
    assert isinstance(await refusal(czar.Begin(asked)), Conflict)

    await czar.Abort(pb.AbortRequest(transaction=begun.transaction, reason="enough"))
    late = pb.ContributeRequest(transaction=begun.transaction)
    assert "enough" in (await refusal(czar.Contribute(late))).text


async def test_a_worker_that_remembers_more_is_told_of_and_stops_loads(czar):
    """Until it remembers no more than there is."""
    joining = pb.JoinRequest(worker_id="w-1", endpoint="127.0.0.1:1", remembered=7)
    assert (await czar.Join(joining)).epoch > 0
    status = await czar.Status(pb.StatusRequest())
    assert "worker w-1 remembers snapshot 7" in status.trouble
    asked = pb.BeginRequest(release="hip", tables=[table_to_proto(metadata.OBJECT)])
    assert isinstance(await refusal(czar.Begin(asked)), MetadataBehind)
    joining.remembered = 0
    await czar.Join(joining)
    assert (await czar.Status(pb.StatusRequest())).trouble == ""
    await czar.Begin(asked)


async def test_placing_needs_workers(czar):
    asked = pb.BeginRequest(release="hip", tables=[table_to_proto(metadata.OBJECT)])
    begun = await czar.Begin(asked)
    tree = metadata.TREE.chunks.tolist()
    place = pb.PlaceRequest(transaction=begun.transaction, tree=tree)
    assert isinstance(await refusal(czar.Place(place)), WorkerUnavailable)

    joined = await czar.Join(pb.JoinRequest(endpoint="127.0.0.1:1"))
    placed = await czar.Place(place)
    (location,) = placed.workers
    assert location.worker_id == joined.worker_id
    assert [(p.chunk, list(p.workers)) for p in placed.chunks] == [
        (chunk, [0]) for chunk in tree
    ]
    assert list(placed.replicated) == [0]


async def test_a_directory_serves_one_czar_and_is_free_again(config):
    async with serving(config):
        with pytest.raises(Conflict):
            async with serving(config):
                pass
    async with serving(config) as endpoint:
        port = int(endpoint.rpartition(":")[2])
        taken = config.model_copy(
            update={"port": port, "directory": config.directory / "other"}
        )
        with pytest.raises(InvalidRequest, match="--port"):
            async with serving(taken):
                pass
