"""An error keeps its class across the wire; a bug tells no secrets."""

import asyncio
import json
import logging

import grpc
import pytest

from qserv import errors, telemetry
from qserv.wire.channel import aio_channel, start_server, sync_channel
from qserv.wire.errors import error_from_proto, error_to_proto, from_rpc
from qserv.wire.v1 import czar_pb2, czar_pb2_grpc, worker_pb2, worker_pb2_grpc


class Czar(czar_pb2_grpc.CzarServicer):
    """Fails every call as it was told."""

    def __init__(self, failure):
        self.failure = failure
        self.closed = asyncio.Event()

    async def Explain(self, request, context):
        raise self.failure

    async def Query(self, request, context):
        try:
            header = czar_pb2.ResultHeader(query_id="q1")
            yield czar_pb2.ResultFrames(frames=[czar_pb2.ResultFrame(header=header)])
            if self.failure:
                raise self.failure
            await asyncio.Event().wait()
        finally:
            self.closed.set()


class Worker(worker_pb2_grpc.WorkerServicer):
    """Fails a call whose request is a stream."""

    async def Stage(self, request_iterator, context):
        async for part in request_iterator:
            raise errors.Conflict(f"{part.header.table} is staged already")


@pytest.fixture
async def serve():
    servers = []

    async def start(failure=None):
        czar = Czar(failure)

        def register(server):
            czar_pb2_grpc.add_CzarServicer_to_server(czar, server)
            worker_pb2_grpc.add_WorkerServicer_to_server(Worker(), server)

        server, port = await start_server("127.0.0.1", 0, register)
        servers.append(server)
        return czar, f"127.0.0.1:{port}"

    yield start
    for server in servers:
        await server.stop(None)


async def explain(endpoint, query_id=""):
    async with aio_channel(endpoint) as channel:
        query = czar_pb2.QueryRequest(query_id=query_id)
        request = czar_pb2.ExplainRequest(query=query)
        await czar_pb2_grpc.CzarStub(channel).Explain(request, timeout=10)


async def stream(endpoint, query_id=""):
    async with aio_channel(endpoint) as channel:
        request = czar_pb2.QueryRequest(query_id=query_id)
        async for _ in czar_pb2_grpc.CzarStub(channel).Query(request, timeout=10):
            pass


def in_thread(call):
    def run(endpoint):
        with sync_channel(endpoint) as channel:
            call(czar_pb2_grpc.CzarStub(channel))

    return lambda endpoint: asyncio.to_thread(run, endpoint)


CALLS = {
    "aio unary": explain,
    "aio stream": stream,
    "sync unary": in_thread(
        lambda stub: stub.Explain(czar_pb2.ExplainRequest(), timeout=10)
    ),
    "sync stream": in_thread(
        lambda stub: list(stub.Query(czar_pb2.QueryRequest(), timeout=10))
    ),
}


async def failure_of(call, *arguments):
    with pytest.raises(grpc.RpcError) as caught:
        await call(*arguments)
    return from_rpc(caught.value, "here")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", list(errors.subclasses()))
async def test_every_class_arrives_as_itself(serve, kind, call):
    _, endpoint = await serve(kind("row 7 of δ.csv: no such thing"))
    there = await failure_of(CALLS[call], endpoint)
    assert type(there) is kind or kind is errors.QservError
    assert there.text == kind("row 7 of δ.csv: no such thing").text


async def test_a_failing_upload_tells_its_class_too(serve):
    _, endpoint = await serve()

    async def stage():
        part = worker_pb2.StagePart(header=worker_pb2.StageHeader(table="Object"))
        async with aio_channel(endpoint) as channel:
            stub = worker_pb2_grpc.WorkerStub(channel)
            await stub.Stage(iter([part]), timeout=10)

    there = await failure_of(stage)
    assert type(there) is errors.Conflict


async def test_without_the_trailer_the_class_is_lost(serve, monkeypatch):
    monkeypatch.setattr("qserv.wire.errors.TRAILER", "qserv-other-bin")
    _, endpoint = await serve(errors.ParseError("line 1"))
    with pytest.raises(grpc.RpcError) as caught:
        await explain(endpoint)
    monkeypatch.undo()
    assert type(from_rpc(caught.value, "here")) is not errors.ParseError


async def test_a_long_text_is_cut_not_lost(serve):
    _, endpoint = await serve(errors.ParseError("δ" * 100_000))
    there = await failure_of(explain, endpoint)
    assert type(there) is errors.ParseError
    assert there.text.startswith("δδδ")


@pytest.mark.parametrize("call", [explain, stream])
async def test_a_bug_is_logged_whole_and_told_without_its_text(serve, caplog, call):
    try:
        with telemetry.query_context("q42"):
            raise ValueError("cannot open /data/secret.parquet")
    except ValueError as error:
        _, endpoint = await serve(error)
    with caplog.at_level(logging.ERROR):
        there = await failure_of(call, endpoint)
    assert type(there) is errors.InternalError
    assert "ValueError" in there.text
    assert "q42" in there.text
    assert "secret" not in there.text
    (record,) = [r for r in caplog.records if r.name == "qserv.wire.errors"]
    assert record.msg["query_id"] == "q42"
    assert "secret.parquet" in str(record.msg["exc_info"])


async def test_cancelling_a_stream_closes_the_handler(serve):
    czar, endpoint = await serve()
    async with aio_channel(endpoint) as channel:
        call = czar_pb2_grpc.CzarStub(channel).Query(czar_pb2.QueryRequest())
        await call.read()
        call.cancel()
        async with asyncio.timeout(10):
            await czar.closed.wait()


async def test_a_deadline_is_told_as_one_and_closes_the_handler(serve):
    czar, endpoint = await serve()

    async def wait(endpoint):
        async with aio_channel(endpoint) as channel:
            stub = czar_pb2_grpc.CzarStub(channel)
            async for _ in stub.Query(czar_pb2.QueryRequest(), timeout=0.2):
                pass

    assert type(await failure_of(wait, endpoint)) is errors.DeadlineExceeded
    async with asyncio.timeout(10):
        await czar.closed.wait()


@pytest.mark.parametrize(
    ("czar", "kind"),
    [(True, errors.CzarUnavailable), (False, errors.WorkerUnavailable)],
)
async def test_nobody_there_names_who_is_missing(serve, czar, kind):
    with pytest.raises(grpc.RpcError) as caught:
        await explain("127.0.0.1:1")
    there = from_rpc(caught.value, "127.0.0.1:1", czar=czar)
    assert type(there) is kind
    assert "127.0.0.1:1" in there.text


async def test_a_call_that_the_server_lacks_is_the_versions_fault(serve):
    _, endpoint = await serve()

    async def unknown():
        async with aio_channel(endpoint) as channel:
            await channel.unary_unary("/qserv.wire.v9.Czar/Query")(b"", timeout=10)

    there = await failure_of(unknown)
    assert type(there) is errors.InvalidRequest
    assert "version" in there.text


def test_log_lines_of_a_query_carry_its_id(capsys):
    root = logging.getLogger()
    before = root.handlers, root.level
    try:
        telemetry.configure("worker 2", level="info", format="json")
        with telemetry.query_context("q7"):
            telemetry.logger("qserv.somewhere").info("batch done", rows=3)
        telemetry.logger("qserv.somewhere").debug("too fine")
    finally:
        root.handlers, level = before
        root.setLevel(level)
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        json.loads(line).items()
        >= {
            "process": "worker 2",
            "query_id": "q7",
            "event": "batch done",
            "rows": 3,
            "level": "info",
            "logger": "qserv.somewhere",
        }.items()
    )


def test_a_lost_spool_names_the_worker_on_the_far_side():
    told = error_to_proto(errors.SpoolLost("stage 0 of q1 is gone from w2", "w2"))
    made = error_from_proto(told)
    assert (type(made), made.worker_id) == (errors.SpoolLost, "w2")


def test_the_chunks_that_a_worker_refuses_cross_the_wire():
    told = errors.CorruptData("bad", chunks=range(1000))
    made = error_from_proto(error_to_proto(told))
    # Not all: trailing metadata has little room, and one is enough to go on.
    assert made.chunks == tuple(range(200))
