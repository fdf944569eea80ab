"""``qserv placement``: which workers hold what, and who shall."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qserv.cli.endpoint import czar_options, open_czar
from qserv.cli.status import listing
from qserv.cli.view import Verbs

if TYPE_CHECKING:
    from rich.table import Table

    from qserv.client.placement import Placement, Replication, WorkerStatus


@click.group(cls=Verbs, short_help="Show and change which workers hold what.")
def placement() -> None:
    """Show where copies are; drain, readmit and give up workers.

    Copies are made and dropped in the background, no faster than the setting
    repair_bytes_per_second; queries go on meanwhile.

    \b
    Examples:
      qserv placement show
      qserv placement drain w-1a2b3c4d
      qserv placement replicas dr1 3
    """


@placement.command()
@click.argument("family", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@czar_options
def show(
    *, family: str | None, as_json: bool, czar: str | None, directory: Path
) -> None:
    """Show workers, families, and copies under way; of FAMILY, or of all.

    \b
    Examples:
      qserv placement show
      qserv placement show dr1 --json | jq '.workers[] | {id, chunks, size}'
    """
    with open_czar(czar, directory) as db:
        found = db.placement.show(family or "")
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps(asdict(found), indent=2))
        return
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    console.width = max(console.width, 110)
    for table in (_workers(found), _families(found), _copies(found)):
        if table.row_count:
            console.print(table)
            console.print()
    for line in summary(found.replication):
        console.print(line)


@placement.command()
@click.argument("worker")
@czar_options
def drain(*, worker: str, czar: str | None, directory: Path) -> None:
    """Have others copy what WORKER holds, then have it drop that.

    It goes on answering until then, and gets nothing new. Refused where the workers
    that are left are fewer than the copies that a family wants.

    \b
    Examples:
      qserv placement drain w-1a2b3c4d
    """
    with open_czar(czar, directory) as db:
        click.echo(db.placement.drain(worker))


@placement.command()
@click.argument("worker")
@czar_options
def readmit(*, worker: str, czar: str | None, directory: Path) -> None:
    """Let WORKER, which was drained or given up, hold chunks again.

    \b
    Examples:
      qserv placement readmit w-1a2b3c4d
    """
    with open_czar(czar, directory) as db:
        click.echo(db.placement.readmit(worker))


@placement.command()
@click.argument("worker")
@click.option(
    "--force",
    is_flag=True,
    help="Even if it is alive, or has the only copy of something.",
)
@czar_options
def lost(*, worker: str, force: bool, czar: str | None, directory: Path) -> None:
    """Give WORKER up for ever: what it had is copied again from other workers.

    Refused where it has the only copy of something; says of which tables and chunks.

    \b
    Examples:
      qserv placement lost w-1a2b3c4d
    """
    with open_czar(czar, directory) as db:
        click.echo(db.placement.lost(worker, force=force))


@placement.command()
@click.argument("family")
@click.argument("copies", type=click.IntRange(min=1), metavar="N")
@czar_options
def replicas(*, family: str, copies: int, czar: str | None, directory: Path) -> None:
    """Have N workers hold each chunk of FAMILY.

    \b
    Examples:
      qserv placement replicas dr1 3
    """
    with open_czar(czar, directory) as db:
        click.echo(db.placement.replicas(family, copies))


def summary(found: "Replication") -> list[str]:
    """Say in lines how far copies are from what is wanted."""
    lines = []
    if found.settled:
        lines.append("all chunks have as many copies as are wanted")
    if found.under:
        lines.append(f"{found.under:,} chunks have fewer live copies than are wanted")
    if found.missing:
        lines.append(
            f"{found.missing:,} copies of files are missing "
            f"({found.missing_size / 1e6:,.1f} MB){_progress(found)}"
        )
    if found.surplus:
        lines.append(f"{found.surplus:,} copies of files are yet to be dropped")
    return [*lines, *(f"put off: {why}" for why in found.troubles)]


def _progress(found: "Replication") -> str:
    if not found.copies:
        return ""
    rate = f", being made at {found.rate / 1e6:,.1f} MB/s"
    return rate if found.left is None else f"{rate}, {found.left:,.0f} s left"


def state(worker: "WorkerStatus") -> str:
    """Say what a worker does."""
    silence = f"silent for {worker.seen:.0f} s" if worker.endpoint else "not joined"
    if worker.state == "lost":
        return "lost"
    if worker.state == "draining":
        holds = "draining" if worker.chunks or worker.size else "drained"
        return holds if worker.alive else f"{holds}, {silence}"
    return "alive" if worker.alive else silence


def _workers(found: "Placement") -> "Table":
    names = ("worker", "endpoint", "state", "chunks", "share", "MB", "MB free")
    grid = listing(*names, left=3)
    chunks = sum(worker.chunks for worker in found.workers)
    for worker in found.workers:
        grid.add_row(
            worker.id,
            worker.endpoint,
            state(worker),
            f"{worker.chunks:,}",
            f"{worker.chunks / chunks:.1%}" if chunks else "",
            f"{worker.size / 1e6:,.1f}",
            f"{worker.disk_free / 1e6:,.0f}" if worker.disk_free >= 0 else "",
        )
    return grid


def _families(found: "Placement") -> "Table":
    names = ("family", "chunks", "copies", "with fewer", "unavailable")
    grid = listing(*names, left=1)
    for family in found.families:
        numbers = (family.chunks, family.replicas, family.under, family.unavailable)
        grid.add_row(family.name, *(f"{number:,}" for number in numbers))
    return grid


def _copies(found: "Placement") -> "Table":
    grid = listing("to worker", "family", "files", "MB", "done", "seconds", left=2)
    for copy in found.replication.copies:
        grid.add_row(
            copy.worker,
            copy.family,
            f"{copy.files:,}",
            f"{copy.size / 1e6:,.1f}",
            f"{copy.done / max(copy.size, 1):.0%}",
            f"{copy.seconds:.0f}",
        )
    return grid
