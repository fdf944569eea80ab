"""Three workers for tests in which rows move between them."""

from contextlib import AsyncExitStack

import pytest_asyncio
from support.spooling import Query, left, one_of_three


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers(tmp_path_factory):
    """Three workers; each holds every third chunk."""
    directory = tmp_path_factory.mktemp("workers")
    async with AsyncExitStack() as stack:
        yield [await one_of_three(stack, directory, n) for n in range(3)]


@pytest_asyncio.fixture(loop_scope="module")
async def query(workers, request):
    made = Query(workers, request.node.name)
    yield made
    await made.end()
    assert left(workers) == []
