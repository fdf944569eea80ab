"""``qserv czar`` and ``qserv worker``: the assembly of one process each."""

import gc
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from qserv import failpoint, serving

F = TypeVar("F", bound=Callable[..., Any])

_GRACE: Final = 8.0
"""Seconds that a process has to stop once its leash is cut."""


def _process_options(command: F) -> F:
    for option in reversed(
        [
            click.option(
                "--dir",
                "directory",
                type=click.Path(path_type=Path, file_okay=False),
                help="Where the process keeps its data.  [qserv-data]",
            ),
            click.option("--host", help="Address to listen on.  [127.0.0.1]"),
            click.option(
                "--allow-remote",
                is_flag=True,
                default=None,
                help="Let --host be an address that other machines reach.",
            ),
            click.option(
                "--port",
                type=int,
                help="Port to listen on; 0 takes any.  [7480 czar, 7481 worker]",
            ),
            click.option(
                "--config",
                type=click.Path(path_type=Path, dir_okay=False),
                help="TOML file with settings.",
            ),
            click.option(
                "--log-level",
                type=click.Choice(["debug", "info", "warning", "error"]),
                help="The least severe log lines to write.  [info]",
            ),
            click.option(
                "--log-format",
                type=click.Choice(["console", "json"]),
                help="Log lines for people or for machines.  [console]",
            ),
            click.option(
                "--leash",
                is_flag=True,
                help="Stop when standard input ends (for programs that start this).",
            ),
            click.option("--failpoint", hidden=True),
        ]
    ):
        command = option(command)
    return command


@click.command(short_help="Run one czar: plans, dispatches, merges.")
@_process_options
@click.option(
    "--metadata",
    metavar="PLACE",
    help="sqlite, or postgresql://USER@HOST/DATABASE.  [where it was; sqlite]",
)
@click.option(
    "--replicas",
    type=int,
    help="Copies of each chunk of a new family.  [2 with two workers or more, else 1]",
)
@click.option("--query-timeout", type=float, help="Seconds a query may take.  [3600]")
@click.option("--max-rows", type=int, help="Rows after which an answer is cut.")
def czar(*, config: Path | None, leash: bool, **settings: Any) -> None:
    """Run one czar in the foreground, until Ctrl-C or SIGTERM.

    A setting that is not given here comes from the environment (QSERV_PORT …), else
    from --config, else from its default.

    \b
    Examples:
      qserv czar --dir /data/czar
      qserv czar --dir /data/czar --host 10.0.0.1 --allow-remote --replicas 2
      qserv czar --dir /data/czar --metadata postgresql://qserv@db1/qserv
    """
    from qserv import config as settings_of

    values = settings_of.load(settings_of.CzarConfig, config, **settings)
    serving.begin()
    from qserv import telemetry
    from qserv.faces.rpc.program import run

    failpoint.arm(values.failpoint)
    telemetry.configure("czar", level=values.log_level, format=values.log_format)
    _start_leash(leash)
    _serve(run(values, ready=_ready("czar")))


@click.command(short_help="Run one worker: holds chunks, runs what it is sent.")
@_process_options
@click.option(
    "--czar",
    "czars",
    help="HOST:PORT of the czars to join, with commas.  [127.0.0.1:7480]",
)
@click.option("--executors", type=int, help="Processes that run DuckDB.  [1]")
@click.option("--threads", type=int, help="DuckDB threads of an executor.  [1]")
@click.option("--memory", help="Memory of an executor, such as 4GiB.  [1GiB]")
def worker(*, config: Path | None, leash: bool, **settings: Any) -> None:
    """Run one worker in the foreground, until Ctrl-C or SIGTERM.

    It joins its czars, and keeps the name that they gave it in its directory. A setting
    that is not given here comes from the environment (QSERV_PORT …), else from
    --config, else from its default.

    \b
    Examples:
      qserv worker --dir /data/worker --czar 127.0.0.1:7480
      qserv worker --dir /data/worker --czar 10.0.0.1:7480 --host 10.0.0.2 \\
                   --allow-remote --executors 4 --threads 2 --memory 8GiB
    """
    from qserv import config as settings_of

    values = settings_of.load(settings_of.WorkerConfig, config, **settings)
    serving.begin()
    from qserv import telemetry
    from qserv.worker.program import run

    failpoint.arm(values.failpoint)
    name = values.directory.name
    telemetry.configure(name, level=values.log_level, format=values.log_format)
    _start_leash(leash)
    _serve(run(values, ready=_ready("worker")))


def _serve(program: Coroutine[Any, Any, None]) -> None:
    import asyncio

    try:
        asyncio.run(program)
    finally:
        # What `serving.settle` hid, DuckDB's binding would report as leaked.
        gc.unfreeze()


def _ready(kind: str) -> Callable[[str], None]:
    def ready(endpoint: str) -> None:
        serving.settle()
        click.echo(f"qserv {kind} is ready at {endpoint}")

    return ready


def _start_leash(wanted: bool) -> None:
    if wanted:
        threading.Thread(target=_obey_leash, name="leash", daemon=True).start()


def _obey_leash() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_GRACE)
    os._exit(1)
