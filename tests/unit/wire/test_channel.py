"""A server has its port for itself, stays on this machine, and says that it is well."""

import asyncio
import os
import signal
import subprocess
import sys

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from qserv.errors import InvalidRequest, WorkerUnavailable
from qserv.wire.channel import aio_channel, start_server
from qserv.wire.errors import from_rpc


def nothing(server):
    """Register no service: health is there anyway."""


async def test_health_is_served():
    server, port = await start_server("localhost", 0, nothing)
    async with aio_channel(f"localhost:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    await server.stop(None)


async def test_a_taken_port_is_an_error_that_names_the_option():
    server, port = await start_server("127.0.0.1", 0, nothing)
    with pytest.raises(InvalidRequest, match=f"127.0.0.1:{port}.*--port"):
        await start_server("127.0.0.1", port, nothing)
    await server.stop(None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
async def test_other_machines_are_let_in_only_when_told(host):
    with pytest.raises(InvalidRequest, match="--allow-remote"):
        await start_server(host, 0, nothing)


async def test_other_machines_are_let_in_when_told():
    server, port = await start_server("0.0.0.0", 0, nothing, allow_remote=True)
    assert port
    await server.stop(None)


SILENT = """
import asyncio
from qserv.wire.channel import start_server
async def main():
    server, port = await start_server("127.0.0.1", 0, lambda server: None)
    print(port, flush=True)
    await server.wait_for_termination()
asyncio.run(main())
"""


async def test_a_peer_that_falls_silent_is_noticed_without_a_deadline():
    with subprocess.Popen(
        [sys.executable, "-c", SILENT], stdout=subprocess.PIPE, text=True
    ) as peer:
        try:
            port = await asyncio.to_thread(peer.stdout.readline)
            endpoint = f"127.0.0.1:{port.strip()}"
            async with aio_channel(endpoint) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                call = stub.Watch(health_pb2.HealthCheckRequest())
                await asyncio.wait_for(call.read(), 30)
                os.kill(peer.pid, signal.SIGSTOP)
                with pytest.raises(grpc.RpcError) as caught:
                    await asyncio.wait_for(call.read(), 30)
        finally:
            peer.kill()
    assert type(from_rpc(caught.value, endpoint)) is WorkerUnavailable
