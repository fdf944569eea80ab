"""``qserv table``: what a release is made of."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qserv.cli import tableworks
from qserv.cli.endpoint import czar_options, open_czar
from qserv.cli.view import Verbs, at_snapshot, print_plain

if TYPE_CHECKING:
    from rich.table import Table

    from qserv.client.tables import ReleaseTables


@click.group(cls=Verbs, short_help="List, change and drop tables.")
def table() -> None:
    """See which tables a release has, give one a column, make one anew, drop some.

    \b
    Examples:
      qserv table list dr1
      qserv table add-column dr1.Object checked BOOLEAN --default false
      qserv table rebuild dr1.Object
      qserv table drop dr1.Source
      qserv table list dr1 --snapshot 12
    """


@table.command(name="list")
@click.argument("release")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@at_snapshot
@czar_options
def list_tables(
    *,
    release: str,
    as_json: bool,
    snapshot: int | None,
    czar: str | None,
    directory: Path,
) -> None:
    """List the tables of RELEASE; `qserv schema show` tells their columns.

    \b
    Examples:
      qserv table list dr1
      qserv table list dr1 --snapshot 12
      qserv table list dr1 --json | jq '.[].name'
    """
    with open_czar(czar, directory) as db:
        found = db.tables(release, snapshot=snapshot)
    if as_json:
        click.echo(json.dumps(_facts(found), indent=2))
    elif found.tables:
        print_plain(_listed(found))


@table.command()
@click.argument("name", metavar="RELEASE.TABLE")
@click.option(
    "--with-children", is_flag=True, help="And all tables that it is the director of."
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@czar_options
def drop(
    *, name: str, with_children: bool, yes: bool, czar: str | None, directory: Path
) -> None:
    """Drop RELEASE.TABLE; older snapshots keep it.

    A table that others name as their director, that a view reads or that a load goes
    into is kept. The files that its rows came from may be loaded again, and a table of
    its name may be another one.

    \b
    Examples:
      qserv table drop dr1.Source
      qserv table drop dr1.Object --with-children --yes
    """
    from qserv.client.tables import named

    release, _ = named(name)
    with open_czar(czar, directory) as db:
        if not yes:
            more = " and its children" if with_children else ""
            click.confirm(f"Drop {name}{more}?", abort=True, err=True)
        gone = db.drop_table(name, with_children=with_children)
    names = ", ".join(f"{release}.{each}" for each in gone.names)
    click.echo(f"gone from snapshot {gone.snapshot} on: {names}")


table.add_command(tableworks.rebuild)
table.add_command(tableworks.add_column)


def _facts(found: "ReleaseTables") -> list[dict[str, object]]:
    return [
        {
            "release": found.release,
            "name": each.name,
            "kind": str(each.kind),
            "columns": len(each.columns),
            "directors": [director for _, director in each.links],
            "description": each.description,
        }
        for each in found.tables
    ]


def _listed(found: "ReleaseTables") -> "Table":
    from qserv.cli.status import listing

    grid = listing("table", "kind", "columns", "directors", "description", left=2)
    for column in grid.columns[3:]:
        column.justify = "left"
    for each in found.tables:
        directors = ", ".join(director for _, director in each.links)
        full, columns = f"{found.release}.{each.name}", str(len(each.columns))
        grid.add_row(full, str(each.kind), columns, directors, each.description)
    return grid
