"""``qserv up``: a whole cluster on this machine, in the foreground."""

import signal
import threading
from contextlib import suppress
from pathlib import Path

import click

from qserv.cli.endpoint import DEFAULT_DIRECTORY


@click.command(short_help="Run a whole cluster on this machine.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="Where the cluster keeps everything.",
)
@click.option("--workers", type=int, help="How many workers.  [as before, else 3]")
@click.option(
    "--port", default=7480, show_default=True, help="Port of the czar; 0 takes any."
)
@click.option("--replicas", default=1, show_default=True, help="Copies of each chunk.")
@click.option("--threads", default=1, show_default=True, help="Threads of each worker.")
def up(
    directory: Path, workers: int | None, port: int, replicas: int, threads: int
) -> None:
    """Run one czar and some workers on this machine, until Ctrl-C.

    Each is a process of its own with its own directory, and is started again if it
    dies. What was loaded is there again the next time.

    \b
    Examples:
      qserv up
      qserv up --dir /data/sky --workers 8 --port 7500
    """  # noqa: D301
    from qserv import telemetry
    from qserv.local import LocalCluster

    telemetry.configure("up")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster = LocalCluster(
        workers, directory, port=port, replicas=replicas, threads=threads
    )
    with cluster:
        click.echo(_greeting(cluster.endpoint, directory, len(cluster.workers)))
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
        click.echo("stopping …")


def _greeting(endpoint: str, directory: Path, workers: int) -> str:
    where = "" if directory == DEFAULT_DIRECTORY else f" --dir {directory}"
    return (
        f"qserv is ready at {endpoint}: one czar, {workers} workers, all in {directory}"
        f"\n  qserv status{where}"
        f'\n  qserv sql{where} "SELECT TOP 5 * FROM hip.Object ORDER BY Hpmag"'
        f"\n  python -c 'import qserv; print(qserv.connect(\"{endpoint}\").status())'"
        "\nCtrl-C stops it."
    )
