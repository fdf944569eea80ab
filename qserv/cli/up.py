"""``qserv up``: a whole cluster on this machine, in the foreground."""

import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qserv.cli.endpoint import directory_option, shell_directory
from qserv.errors import InvalidRequest

if TYPE_CHECKING:
    from qserv.local import LocalConnection

COUNT = click.IntRange(min=1)


@click.command(short_help="Run a whole cluster on this machine.")
@directory_option("Where the cluster keeps everything.")
@click.option("--workers", type=COUNT, help="How many workers.  [as before; 3]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=7480,
    show_default=True,
    help="Port of the czar; 0 takes any.",
)
@click.option(
    "--replicas",
    type=COUNT,
    help="Copies of each chunk, on as many workers.  [2 with two workers or more]",
)
@click.option(
    "--metadata",
    metavar="PLACE",
    help="sqlite, or postgresql://USER@HOST/DATABASE.  [where it was; sqlite]",
)
@click.option(
    "--threads",
    type=COUNT,
    default=1,
    show_default=True,
    help="Threads of each worker.",
)
def up(
    *,
    directory: Path,
    workers: int | None,
    port: int,
    replicas: int | None,
    metadata: str | None,
    threads: int,
) -> None:
    """Run one czar and some workers on this machine, until Ctrl-C.

    Each is a process of its own with its own directory, and is started again if it
    dies. What was loaded is there again the next time.

    \b
    Examples:
      qserv up
      qserv up --dir /data/sky --workers 8 --port 7500
      qserv up --metadata postgresql://qserv@localhost/qserv
    """
    from qserv import telemetry
    from qserv.local import LocalCluster

    telemetry.configure("up")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster = LocalCluster(
        workers,
        directory,
        port=port,
        replicas=replicas,
        threads=threads,
        metadata=metadata or "",
    )
    if replicas and replicas > (number := len(cluster.workers)):
        raise InvalidRequest(f"{replicas} copies need as many workers, not {number}")
    with cluster as db:
        click.echo(_greeting(db, directory))
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
        click.echo("stopping …")


def _greeting(db: "LocalConnection", directory: Path) -> str:
    where = shell_directory(directory)
    workers = len(db.cluster.workers)
    if (table := _a_table(db)) is None:
        example = "qserv load --help    (nothing is loaded yet)"
    else:
        example = f'qserv sql{where} "SELECT TOP 5 * FROM {table}"'
    return (
        f"qserv is ready at {db.endpoint}: one czar, {workers} workers, all in "
        f"{directory}"
        f"\n  qserv status{where}"
        f"\n  {example}"
        f'\nFrom Python: qserv.connect("{db.endpoint}")'
        "\nCtrl-C stops it."
    )


def _a_table(db: "LocalConnection") -> str | None:
    """Return a table to try a query on; None if none is loaded."""
    directors = (
        f"{release.name}.{table.name}"
        for release in db.status().releases
        for table in release.tables
        if table.kind == "director"
    )
    return next(directors, None)
