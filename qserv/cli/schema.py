"""``qserv schema``: what tables are, guessed from files or asked of a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qserv.cli.endpoint import czar_options, open_czar
from qserv.cli.inputs import by_table
from qserv.cli.view import Verbs
from qserv.errors import InvalidRequest, UnknownName

if TYPE_CHECKING:
    from qserv.catalog.tables import Table
    from qserv.client.tables import ReleaseTables


@click.group(cls=Verbs, short_help="Draft a schema from files, show that of tables.")
def schema() -> None:
    """Say what tables are: columns in Felis YAML, the rest in a sidecar.

    \b
    Examples:
      qserv schema infer Object=objects.csv -o mine.yaml
      qserv schema show mine.Object
    """


@schema.command()
@click.argument("inputs", nargs=-1, required=True, metavar="TABLE=FILES...")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Felis file to write; the sidecar is written beside it.  [print both]",
)
@click.option(
    "--sidecar",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A sidecar with what is known already, such as how files are read.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    help="Rows of texts that are read for their types, of a table.  [10,000,000]",
)
@click.option("--force", is_flag=True, help="Overwrite files.")
def infer(
    *,
    inputs: tuple[str, ...],
    output: Path | None,
    sidecar: Path | None,
    rows: int | None,
    force: bool,
) -> None:
    """Draft Felis YAML and a sidecar for files, with comments on what was guessed.

    Types hold all rows of all files of a table. Kind, key and position of a table are
    guessed from names, units and UCDs of its columns: check them, then load.

    \b
    Examples:
      qserv schema infer Object=objects.csv
      qserv schema infer "Object=dr1/object/*.parquet" Source=dr1/source/ -o dr1.yaml
      qserv load dr1 --schema dr1.yaml "Object=dr1/object/*.parquet" Source=dr1/source/
    """
    from qserv.catalog.sidecar import SIDECAR_SUFFIX
    from qserv.ingest.drafting import draft
    from qserv.ingest.looking import LIMIT

    beside = output.with_suffix(SIDECAR_SUFFIX) if output else None
    for path in (output, beside):
        if path and path.exists() and not force:
            raise InvalidRequest(f"{path} exists; name another file, or say --force")
    name = output.stem if output else "mine"
    made = draft(name, by_table(inputs), sidecar=sidecar, limit=rows or LIMIT)
    if output is None or beside is None:
        click.echo(f"# {name}.yaml\n{made.felis}")
        click.echo(f"# {name}{SIDECAR_SUFFIX}\n{made.sidecar}", nl=False)
        return
    _write(output, made.felis)
    _write(beside, made.sidecar)
    columns = sum(len(table.columns) for table in made.tables)
    click.echo(f"wrote {output} ({columns:,} columns) and {beside}; check them both")


@schema.command()
@click.argument("name", metavar="RELEASE[.TABLE]")
@click.option("--felis", is_flag=True, help="As Felis YAML.")
@click.option("--sidecar", is_flag=True, help="As a sidecar.")
@click.option(
    "--snapshot",
    type=click.IntRange(min=0),
    help="As it was at this snapshot.  [the newest]",
)
@czar_options
def show(
    *,
    name: str,
    felis: bool,
    sidecar: bool,
    snapshot: int | None,
    czar: str | None,
    directory: Path,
) -> None:
    """Show the columns of a live table, or of all tables of a release.

    \b
    Examples:
      qserv schema show dr1.Object
      qserv schema show dr1 --felis > dr1.yaml
      qserv schema show dr1 --sidecar > dr1.sidecar.yaml
    """
    if felis and sidecar:
        raise InvalidRequest("--felis or --sidecar, each into a file of its own")
    release, _, table = name.partition(".")
    with open_czar(czar, directory) as db:
        found = db.tables(release, snapshot=snapshot)
    tables = _chosen(found, name, table)
    from qserv.catalog import felistext

    if felis:
        click.echo(felistext.felis(found.release, tables), nl=False)
    elif sidecar:
        text = felistext.sidecar(tables, overlap=found.overlap)
        click.echo(text, nl=False)
    else:
        for number, each in enumerate(tables):
            click.echo("" if number else None, nl=number > 0)
            _print(found.release, each)


def _chosen(found: "ReleaseTables", name: str, table: str) -> "tuple[Table, ...]":
    chosen = tuple(
        each for each in found.tables if not table or each.name.lower() == table.lower()
    )
    if not chosen:
        known = ", ".join(each.name for each in found.tables)
        raise UnknownName(f"there is no {name}; its release has: {known or 'nothing'}")
    return chosen


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"cannot write {path}: {error.strerror}") from error


def _print(release: str, table: "Table") -> None:
    from rich.console import Console
    from rich.text import Text

    from qserv.cli.status import listing

    click.echo(f"{release}.{table.name}: {_spread(table)}")
    if table.description:
        click.echo(table.description)
    grid = listing("column", "type", "unit", "ucd", "description", left=5)
    for column in table.columns:
        length = f"({column.length})" if column.length else ""
        never = "" if column.nullable else " not null"
        kind = f"{column.datatype}{length}{never}"
        cells = (column.name, kind, column.unit, column.ucd, column.description)
        # A unit such as [deg] is no markup.
        grid.add_row(*map(Text, cells))
    console = Console()
    console.width = max(console.width, 110)
    console.print(grid)


def _spread(table: "Table") -> str:
    words = [str(table.kind)]
    words += [
        f"{what.replace('_', ' ')} {value}"
        for what in ("director", "key", "second_director", "second_key", "id")
        if (value := getattr(table, what))
    ]
    if table.position:
        words.append(f"position {', '.join(table.position)}")
    if table.orphans:
        words.append("keeps orphans")
    return ", ".join(words)
