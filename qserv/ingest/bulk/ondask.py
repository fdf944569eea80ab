"""Dask runs the tasks of a load, on other machines too."""

import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, Final

import distributed
from typing_extensions import override

from qserv.errors import ClusterError

_CONNECT: Final = 30


@contextmanager
def executor(address: str) -> Iterator[Executor]:
    """Give what runs tasks on the workers of a Dask scheduler.

    Raises
    ------
    ClusterError
        If it does not answer.
    """
    try:
        client: Any = distributed.Client(
            address, timeout=_CONNECT, set_as_default=False
        )
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address}: {error}; start one with "
            "'dask scheduler', and workers with 'dask worker'"
        ) from error
    with client:
        client.register_plugin(Unwatched())
        # Dask runs the tasks of a worker that died elsewhere; what a file has wrong
        # with it would only be found again.
        with client.get_executor(pure=False) as pool:
            yield pool


class Unwatched(distributed.WorkerPlugin):  # type: ignore[misc] # it has no types
    """Has a Dask worker not look at the stacks of its threads, where that may hang.

    In Python 3.11 `sys._current_frames` waits for ever if garbage is collected
    meanwhile (python/cpython#106883, mended in 3.11.9), as happens once in some hundred
    loads: sending files begins many threads. All that is lost is Dask's profile.
    """

    name = "qserv-unwatched"

    @override
    def setup(self, worker: Any) -> None:
        """Stop it, for as long as the worker lives."""
        if sys.version_info < (3, 12) and (
            watching := worker.periodic_callbacks.pop("profile", None)
        ):
            watching.stop()
