"""Where tasks run: in this process, in a pool of processes, or on Dask."""

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    as_completed,
)
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from typing_extensions import override

from qserv import failpoint, serving
from qserv.errors import InvalidRequest, TaskFailed

Task = TypeVar("Task")
Made = TypeVar("Made")

SMALL: Final = 32 * 2**20
"""Bytes of input below which a pool of processes costs more than it saves."""

_MEMORY: Final = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_ARENA_MAX": "1",
}
"""Lets the processes of a pool use memory again that they have freed. To give columns
back to the kernel and get new ones from it, page by page, costs a fifth of a load."""

_IMPORTED: Final = ("healpy", "qserv.ingest.bulk.leaves", "qserv.ingest.bulk.reading")
"""What the tasks of a load need, and takes long to import."""


class Inline(Executor):
    """Runs each task at once, in the thread that submits it."""

    @override
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a task; its future is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 the future tells whoever waits
            future.set_exception(error)
        return future


@contextmanager
def executor(
    *, size: int, processes: int | None = None, dask: str | None = None
) -> Iterator[Executor]:
    """Give what runs the tasks of a load.

    Parameters
    ----------
    size
        Bytes of all inputs.
    processes
        How many processes; None: one more than there are cores. 0 runs everything in
        this one, as is done with little input.
    dask
        Address of a Dask scheduler, such as ``tcp://host:8786``.

    Raises
    ------
    InvalidRequest
        If Dask is asked for and not installed.
    ClusterError
        If its scheduler does not answer.
    """
    if dask is not None:
        with _on_dask(dask) as pool:
            yield pool
    elif processes == 0 or (processes is None and size < SMALL):
        yield Inline()
    else:
        # One more than cores: some wait until workers have files on their disks.
        with _processes(processes or len(os.sched_getaffinity(0)) + 1) as pool:
            yield pool


@contextmanager
def _processes(count: int) -> Iterator[Executor]:
    # The standard library's pool would run the user's script again in each process.
    import loky

    pool = loky.ProcessPoolExecutor(
        count,
        initializer=_prepare,
        initargs=(failpoint.armed(),),
        env=_MEMORY,
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def _prepare(failpoints: str) -> None:
    """Prepare a process of the pool."""
    from loky import process_executor

    serving.begin()
    for module in _IMPORTED:
        importlib.import_module(module)
    # loky collects garbage after tasks, and would look at all that was imported.
    serving.settle()
    # It would take mapped files for a leak, and start processes again and again.
    process_executor._USE_PSUTIL = False  # noqa: SLF001 there is no public way
    failpoint.arm(failpoints)


@contextmanager
def _on_dask(address: str) -> Iterator[Executor]:
    try:
        from qserv.ingest.bulk import ondask
    except ImportError:
        raise InvalidRequest(
            "loading on Dask needs the package distributed: pip install 'qserv[dask]'"
        ) from None
    with ondask.executor(address) as pool:
        yield pool


def finished(
    pool: Executor, work: Callable[[Task], Made], tasks: Mapping[str, Task]
) -> Iterator[tuple[str, Made]]:
    """Run tasks; give the name and the result of each as it ends.

    What has not begun when the caller stops listening is not begun any more.

    Raises
    ------
    TaskFailed
        If a process died.
    """
    futures = {pool.submit(work, task): name for name, task in tasks.items()}
    try:
        for future in as_completed(futures):
            yield futures[future], _outcome(future)
    finally:
        for future in futures:
            future.cancel()


def _outcome(future: "Future[Made]") -> Made:
    try:
        return future.result()
    except BrokenExecutor as error:
        raise TaskFailed(
            "a process of the load died, perhaps for lack of memory; give it fewer "
            "with --processes, then run the same command again: it goes on where it "
            "stopped"
        ) from error
