"""``qserv view``: queries that stand in FROM as tables do."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from typing_extensions import override

from qserv.cli.endpoint import czar_options, open_czar
from qserv.errors import InvalidRequest, UnknownName

if TYPE_CHECKING:
    from rich.table import Table

    from qserv.client.views import ViewStatus


class Verbs(click.Group):
    """A group whose verbs stand in the order in which they are met."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in their order."""
        return list(self.commands)


at_snapshot = click.option(
    "--snapshot",
    type=click.IntRange(min=0),
    help="As it was at this snapshot.  [the newest]",
)


@click.group(cls=Verbs, short_help="Make, list, show and drop views.")
def view() -> None:
    """Name a query, and read it as a table.

    \b
    Examples:
      qserv view create dr1.Bright "SELECT objectId, ra, dec FROM Object WHERE mag < 15"
      qserv sql "SELECT COUNT(*) FROM dr1.Bright"
      qserv view list
      qserv view drop dr1.Bright
    """


@view.command()
@click.argument("name", metavar="RELEASE.VIEW")
@click.argument("query", required=False)
@click.option(
    "--file",
    "-f",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File with the query.",
)
@click.option("--description", default="", help="What its rows are.")
@click.option("--replace", is_flag=True, help="Take the place of a view of that name.")
@czar_options
def create(
    *,
    name: str,
    query: str | None,
    file: Path | None,
    description: str,
    replace: bool,
    czar: str | None,
    directory: Path,
) -> None:
    """Make the view RELEASE.VIEW of QUERY (ADQL; "-" reads it from standard input).

    A table without a schema is one of RELEASE. A query that cannot be answered is
    refused; so is a name that a table or a view has.

    \b
    Examples:
      qserv view create dr1.Bright "SELECT objectId, ra, dec FROM Object WHERE mag < 15"
      qserv view create dr1.Pairs --file pairs.sql --description "Close pairs."
      qserv view create dr1.Bright --replace - < bright.sql
    """
    text = _text(query, file)
    with open_czar(czar, directory) as db:
        made = db.create_view(name, text, description=description, replace=replace)
    columns = ", ".join(column.name for column in made.columns)
    click.echo(f"{_name(made)} has the columns {columns}; snapshot {made.since}")


@view.command(name="list")
@click.argument("release", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@at_snapshot
@czar_options
def list_views(
    *,
    release: str | None,
    as_json: bool,
    snapshot: int | None,
    czar: str | None,
    directory: Path,
) -> None:
    """List the views of RELEASE, or of all releases.

    \b
    Examples:
      qserv view list
      qserv view list dr1 --json | jq '.[] | {name, text}'
    """
    with open_czar(czar, directory) as db:
        found = db.views(release or "", snapshot=snapshot)
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps([asdict(each) for each in found], indent=2))
    elif found:
        print_plain(_listed(found))


@view.command()
@click.argument("name", metavar="RELEASE.VIEW")
@click.option("--text", is_flag=True, help="Only the query, as it was written.")
@at_snapshot
@czar_options
def show(
    *,
    name: str,
    text: bool,
    snapshot: int | None,
    czar: str | None,
    directory: Path,
) -> None:
    """Show the query of RELEASE.VIEW and the columns of its rows.

    \b
    Examples:
      qserv view show dr1.Bright
      qserv view show dr1.Bright --text > bright.sql
    """
    with open_czar(czar, directory) as db:
        found = _found(db.views(name.partition(".")[0], snapshot=snapshot), name)
    if text:
        click.echo(found.text, nl=not found.text.endswith("\n"))
        return
    click.echo(f"{_name(found)}, since snapshot {found.since}")
    if found.description:
        click.echo(found.description)
    click.echo(f"\n{found.text.strip()}\n")
    if found.trouble:
        click.echo(f"cannot be read: {found.trouble}")
    else:
        print_plain(_columns(found))


@view.command()
@click.argument("name", metavar="RELEASE.VIEW")
@czar_options
def drop(*, name: str, czar: str | None, directory: Path) -> None:
    """Drop RELEASE.VIEW; its tables stay. A view that another one reads is kept.

    \b
    Examples:
      qserv view drop dr1.Bright
    """
    with open_czar(czar, directory) as db:
        snapshot = db.drop_view(name)
    click.echo(f"{name} is gone from snapshot {snapshot} on")


def _text(query: str | None, file: Path | None) -> str:
    if (query is None) is (file is None):
        raise InvalidRequest('give a query, "-" to read one, or a --file: one of them')
    if file is None:
        return sys.stdin.read() if query == "-" else query or ""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"cannot read {file} as text: {error}") from error


def _found(views: "tuple[ViewStatus, ...]", name: str) -> "ViewStatus":
    for each in views:
        if _name(each).lower() == name.lower():
            return each
    known = ", ".join(map(_name, views))
    raise UnknownName(f"there is no view {name}; its release has: {known or 'none'}")


def _name(view: "ViewStatus") -> str:
    return f"{view.release}.{view.name}"


def _listed(views: "tuple[ViewStatus, ...]") -> "Table":
    from qserv.cli.status import listing

    grid = listing("view", "columns", "since", "description", left=1)
    grid.columns[-1].justify = "left"
    for each in views:
        said = f"cannot be read: {each.trouble}" if each.trouble else each.description
        grid.add_row(_name(each), str(len(each.columns)), str(each.since), said)
    return grid


def _columns(view: "ViewStatus") -> "Table":
    from qserv.cli.status import listing

    grid = listing("column", "type", "unit", "description", left=4)
    for column in view.columns:
        grid.add_row(column.name, column.datatype, column.unit, column.description)
    return grid


def print_plain(table: "Table") -> None:
    """Print a table on a terminal, or wide enough where there is none."""
    from rich.console import Console

    # What users wrote is never markup.
    console = Console(markup=False, emoji=False, highlight=False)
    console.width = max(console.width, 110)
    console.print(table)
