"""``qserv demo``: a sky on your laptop, loaded and asked ten questions."""

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from qserv.cli.endpoint import directory_option, shell_directory

if TYPE_CHECKING:
    from rich.console import Console

    from qserv.client.connection import Connection
    from qserv.client.result import Result

WORKERS: Final = 3

HIP_LEAF_ROWS: Final = 4_000
"""Makes about 60 leaves of the all-sky release, of orders 1 and 2."""
DEEP_LEAF_ROWS: Final = 3_000
"""Makes 270 leaves of the dense field, of orders 5 to 10 where there are rows."""

MAP: Final = "sky.png"
WIDTH: Final = 110
"""Columns that the widest answer takes."""


@click.command(short_help="A sky on your laptop: load it, ask ten questions.")
@directory_option("Where the cluster keeps everything.")
def demo(directory: Path) -> None:
    """Start a cluster, load a sky, ask ten questions, draw a map, stop.

    The sky: 117,955 real stars (Hipparcos) as a simulated survey observes them, and a
    dense synthetic field. It stays in --dir: the second run finds it there.

    \b
    Examples:
      qserv demo
      qserv demo --dir /data/sky
    """
    from rich.console import Console

    from qserv import telemetry
    from qserv.cli.skymap import draw_tables
    from qserv.local import LocalCluster

    telemetry.configure("demo", level="warning")
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    began = time.monotonic()
    with LocalCluster(WORKERS, directory) as db:
        parts = ", ".join(f"{n} ({pid})" for n, pid in db.cluster.processes.items())
        console.print(f"[bold]A cluster is ready at {db.endpoint}:[/bold] {parts}")
        _fill(db, console)
        for number, (title, query) in enumerate(questions(), 1):
            _ask(db, console, f"{number}. {title}", query)
        draw_tables(db.status(), ("hip.ForcedSource", "deep.Object"), directory / MAP)
    console.print(f"\n[bold]Done[/bold] in {time.monotonic() - began:.0f} s; stopped.")
    console.print(_farewell(directory), soft_wrap=True)


def questions() -> list[tuple[str, str]]:
    """Return the titles and queries of ``sql/demo.sql``."""
    from qserv import sqltext

    _, *blocks = sqltext.read("demo.sql").strip().split("\n\n")
    pairs = [block.split("\n", 1) for block in blocks]
    return [(title.removeprefix("-- "), query) for title, query in pairs]


def _fill(db: "Connection", console: "Console") -> None:
    from qserv.pipelines import field, hipparcos

    loaded = {release.name for release in db.status().releases}
    for producer, leaf_rows in (
        (hipparcos, HIP_LEAF_ROWS),
        (field, DEEP_LEAF_ROWS),
    ):
        if producer.RELEASE in loaded:
            console.print(f"release {producer.RELEASE} is loaded already")
        else:
            _load(db, producer, leaf_rows)


def _load(db: "Connection", producer: Any, leaf_rows: int) -> None:
    from qserv.cli.bar import load_bar
    from qserv.cli.load import summary

    name = producer.RELEASE
    with tempfile.TemporaryDirectory(prefix=f"qserv-{name}-") as folder:
        click.echo(f"making {name} …")
        inputs = producer.produce(Path(folder))
        with load_bar(name) as progress:
            report = producer.load(db, inputs, leaf_rows=leaf_rows, progress=progress)
    click.echo(f"{summary(report)} (--leaf-rows {leaf_rows})")


def _ask(db: "Connection", console: "Console", title: str, query: str) -> None:
    from qserv.cli.output import counted, rich_table, touched

    first, seconds = _timed(db, query)
    _, warm = _timed(db, query)
    console.print(f"\n[bold]{title}[/bold]")
    console.print(query, style="cyan", markup=False)
    console.print(rich_table(first.to_arrow()))
    console.print(
        f"{counted(first.rows)} in {seconds * 1000:.0f} ms, "
        f"again in {warm * 1000:.0f} ms; {touched(first)}",
        style="green",
    )


def _timed(db: "Connection", query: str) -> tuple["Result", float]:
    began = time.monotonic()
    result = db.query(query)
    result.to_arrow()
    return result, time.monotonic() - began


def _farewell(directory: Path) -> str:
    where = shell_directory(directory)
    return f"""The map of rows per chunk is {directory / MAP}. To go on:
  source .venv/bin/activate
  qserv up{where}    (serves this sky again; then, in another terminal:)
  qserv status{where}
  qserv sql{where} "SELECT TOP 5 * FROM hip.Object ORDER BY Hpmag"
From Python: qserv.connect("127.0.0.1:7480")"""
