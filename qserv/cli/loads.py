"""``qserv loads``: what is being loaded, and what was."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qserv.cli.endpoint import czar_options, open_czar
from qserv.cli.view import Verbs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from qserv.client.loads import InputStatus, LoadStatus


@click.group(cls=Verbs, short_help="List loads, show what one brought, end one.")
def loads() -> None:
    """Look at loads: those under way, and the history of all.

    \b
    Examples:
      qserv loads list
      qserv loads show 20261122T215733-8fb91d
      qserv loads abort 20261122T215733-8fb91d
    """


@loads.command(name="list")
@click.option("--release", default="", help="Only those into this release.")
@click.option("--all", "every", is_flag=True, help="Not only the last that ended.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@czar_options
def list_loads(
    *, release: str, every: bool, as_json: bool, czar: str | None, directory: Path
) -> None:
    """List the loads under way and the last that ended.

    \b
    Examples:
      qserv loads list
      qserv loads list --release dr1 --all
      qserv loads list --json | jq '.[] | {id, state, rows}'
    """
    with open_czar(czar, directory) as db:
        found = db.loads(release, every=every)
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps([asdict(each) for each in found], indent=2))
    elif found:
        _print(listed(found))


@loads.command()
@click.argument("load")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@czar_options
def show(*, load: str, as_json: bool, czar: str | None, directory: Path) -> None:
    """Show the load LOAD: who made it of what, and what each file brought.

    \b
    Examples:
      qserv loads show 20261122T215733-8fb91d
      qserv loads show 20261122T215733-8fb91d --json | jq '.inputs[].source'
    """
    with open_czar(czar, directory) as db:
        found = db.loads.show(load)
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps(asdict(found), indent=2))
        return
    for name, value in _facts(found.load):
        for number, line in enumerate(value.splitlines()):
            click.echo(f"{'' if number else name:<14}{line}")
    if found.inputs:
        click.echo()
        _print(_inputs(found.inputs))


@loads.command()
@click.argument("load")
@click.option("--reason", default="qserv loads abort", help="For its history.")
@czar_options
def abort(*, load: str, reason: str, czar: str | None, directory: Path) -> None:
    """End the load LOAD, which is under way: its workers forget it, its loader stops.

    \b
    Examples:
      qserv loads abort 20261122T215733-8fb91d
    """
    with open_czar(czar, directory) as db:
        db.loads.abort(load, reason)
    click.echo(f"{load} is aborted")


def listed(found: "Iterable[LoadStatus]") -> "Table":
    """Return a table of loads."""
    from qserv.cli.status import listing

    grid = listing("load", "release", "state", "who", "how far", "rows", "left", left=5)
    for each in found:
        grid.add_row(
            each.id,
            each.release,
            each.state,
            each.who,
            _line(_how_far(each)) + _replaced(each),
            f"{each.rows:,}",
            "" if each.left is None else f"{each.left:,.0f} s",
        )
    return grid


def _how_far(load: "LoadStatus") -> str:
    if load.over:
        again = f", {load.again:,} rows read again" if load.again else ""
        return load.reason or f"snapshot {load.snapshot}{again}"
    of = f" of {load.total:,}" if load.total else ""
    said = f"{load.phase} {load.table} {load.done:,}{of}" if load.phase else ""
    rate = f" at {load.rate:,.0f} rows/s" if load.rate else ""
    silent = f" ({_silent(load)})" if load.silence > 10 else ""
    return f"{' '.join(said.split())}{rate}{silent}{load.reason and f': {load.reason}'}"


def _replaced(load: "LoadStatus") -> str:
    done = load.snapshot is not None and load.replaced
    return f", replaced {', '.join(load.replaced)}" if done else ""


def _line(text: str) -> str:
    """Return the first of several lines, and a sign that there are more."""
    first, *more = text.splitlines() or [""]
    return f"{first} …" if more else first


def _silent(load: "LoadStatus") -> str:
    if load.expires is None:
        return f"silent for {load.silence:.0f} s"
    left = max(0.0, load.expires) / 3600
    return f"silent for {load.silence:.0f} s, given up in {left:.1f} h"


def _facts(load: "LoadStatus") -> list[tuple[str, str]]:
    return [
        ("load", load.id),
        ("into", f"{load.release}: {', '.join(load.tables)}"),
        ("replaces", ", ".join(load.replaced)),
        ("state", load.state),
        ("how far", _how_far(load)),
        ("who", load.who),
        ("pipeline", load.pipeline),
        ("configuration", load.configuration),
        ("made of", ", ".join(load.input_ids)),
        ("begun", load.begun),
        ("ended", load.ended),
        ("rows", f"{load.rows:,}, {load.rejected:,} rejected"),
    ]


def _inputs(inputs: "Iterable[InputStatus]") -> "Table":
    from qserv.cli.status import listing

    names = ("rows", "nulled", "wrapped", "rejected", "gone since")
    grid = listing("number", "table", "file", "sha256", *names, left=4)
    for each in inputs:
        counts = (each.rows, each.nulled, each.wrapped, each.rejected)
        what = (str(each.number), each.table, each.source, each.sha256[:12])
        gone = f"snapshot {each.gone}" if each.gone else ""
        grid.add_row(*what, *(f"{count:,}" for count in counts), gone)
    return grid


def _print(table: "Table") -> None:
    from rich.console import Console

    # What users wrote is never markup.
    console = Console(markup=False, emoji=False, highlight=False)
    console.width = max(console.width, 110)
    console.print(table)
