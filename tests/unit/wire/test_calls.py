"""What fails while nobody waits for it is told in a line, not as a forgotten task."""

import asyncio
import gc
import logging

import pytest

from qserv.errors import WorkerUnavailable
from qserv.wire.calls import Calls


@pytest.mark.parametrize(
    ("error", "level"), [(WorkerUnavailable("gone"), "INFO"), (KeyError(1), "ERROR")]
)
async def test_a_call_whose_caller_is_gone_tells_its_failure(caplog, error, level):
    caplog.set_level(logging.INFO)
    begun, gone = asyncio.Event(), asyncio.Event()

    async def call():
        begun.set()
        await gone.wait()
        raise error

    running = Calls()
    caller = asyncio.create_task(running.finish(call()))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gone.set()
    await running.close()
    gc.collect()
    (told,) = caplog.records
    assert told.levelname == level
    assert "nobody waits" in told.getMessage()
