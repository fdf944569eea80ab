"""``qserv status``: what the cluster is and holds."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qserv.cli.endpoint import czar_options, open_czar

if TYPE_CHECKING:
    from rich.table import Table

    from qserv.client.status import ReleaseStatus, Status


@click.command(short_help="Show workers, releases, tables, queries.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@czar_options
def status(*, as_json: bool, czar: str | None, directory: Path) -> None:
    """Show workers, tables with their rows and chunks, views, running queries.

    \b
    Examples:
      qserv status
      qserv status --json | jq '.releases[].tables[] | {name, rows}'
    """
    with open_czar(czar, directory) as db:
        found = db.status()
    if as_json:
        click.echo(json.dumps(as_values(found), indent=2))
        return
    from rich.console import Console

    from qserv.cli.loads import listed

    console = Console()
    console.width = max(console.width, 110)
    console.print(f"qserv {found.version}, snapshot {found.snapshot}")
    if found.trouble:
        from qserv.catalog.health import BEHIND

        console.print(f"\n{found.trouble}\n{BEHIND}", style="bold red", markup=False)
    tables = (_workers(found), _releases(found), _queries(found), listed(found.loads))
    for table in tables:
        if table.row_count:
            console.print()
            console.print(table)
    if found.releases:
        from qserv.cli.placement import summary

        console.print()
        for line in summary(found.replication):
            console.print(line, markup=False)


def as_values(found: "Status") -> dict[str, Any]:
    """Return a status as values that JSON can hold."""
    from dataclasses import asdict

    values = asdict(found)
    for release in values["releases"]:
        for table in release["tables"]:
            table["chunk_ids"] = table["chunk_ids"].tolist()
            table["chunk_rows"] = table["chunk_rows"].tolist()
    return values


def listing(*names: str, left: int) -> "Table":
    """Return a table to be filled; its first columns are aligned to the left."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for position, name in enumerate(names):
        table.add_column(name, justify="left" if position < left else "right")
    return table


def _workers(found: "Status") -> "Table":
    from qserv.cli.placement import state

    names = ("worker", "endpoint", "state", "chunks", "threads", "MB free")
    grid = listing(*names, left=3)
    for worker in found.workers:
        free = f"{worker.disk_free / 1e6:,.0f}" if worker.disk_free >= 0 else ""
        numbers = (f"{worker.chunks:,}", str(worker.threads), free)
        grid.add_row(worker.id, worker.endpoint, state(worker), *numbers)
    return grid


def _releases(found: "Status") -> "Table":
    names = ("table", "kind", "state", "rows", "MB", "chunks", "orders", "overlap")
    grid = listing(*names, left=3)
    for release in found.releases:
        for table in release.tables:
            chunks = f"{table.chunks:,} of {release.chunks:,}"
            in_chunks = table.kind != "replicated"
            grid.add_row(
                f"{release.name}.{table.name}",
                table.kind,
                release.state,
                f"{table.rows:,}",
                f"{table.size / 1e6:,.1f}",
                chunks if in_chunks else "",
                _orders(release) if in_chunks else "",
                f"{table.overlap * 3600:g} arcsec" if table.overlap else "",
            )
        for view in release.views:
            grid.add_row(f"{release.name}.{view}", "view", release.state)
    return grid


def _orders(release: "ReleaseStatus") -> str:
    low, high = min(release.orders, default=0), max(release.orders, default=0)
    return f"{low} to {high}" if low < high else f"{low}"


def _queries(found: "Status") -> "Table":
    grid = listing("query", "state", "text", "seconds", "chunks", left=3)
    for query in found.queries:
        text = " ".join(query.text.split())
        chunks = f"{query.chunks_done:,} of {query.chunks:,}"
        grid.add_row(query.id, query.state, text[:60], f"{query.seconds:.1f}", chunks)
    return grid
