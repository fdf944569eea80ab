"""``qserv table rebuild`` and ``add-column``: live tables whose rows are read again."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qserv import failpoint
from qserv.cli.endpoint import czar_options, open_czar

if TYPE_CHECKING:
    from qserv.client.loading import LoadReport

F = TypeVar("F", bound=Callable[..., Any])


def _work_options(command: F) -> F:
    """Add how the work is done, as the settings of a load."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Tell what it would make."),
        click.option(
            "--processes",
            type=click.IntRange(min=0),
            help="That read and cut.  [cores + 1]",
        ),
        click.option("--dask", metavar="ADDRESS", help="Dask scheduler to do it."),
        click.option(
            "--scratch",
            type=click.Path(path_type=Path, file_okay=False),
            help="For what is under way; all processes see it.  [temporary files]",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("name", metavar="RELEASE.TABLE")
@click.option("--overlap", type=float, help="Its new overlap radius, arcsec.")
@_work_options
@czar_options
def rebuild(
    *,
    name: str,
    overlap: float | None,
    czar: str | None,
    directory: Path,
    **how: Any,
) -> None:
    """Make RELEASE.TABLE anew of its own rows: its files, index and overlap.

    Rows stay what and where they are. Many small files become few, and what a fault
    has left of overlap or index is made again. Readers see the old files until the
    new ones are whole; older snapshots keep them, and their overlap.

    Rows as near as the overlap radius are joined without fetching any from other
    workers. Loads into the table keep to its new radius.

    \b
    Examples:
      qserv table rebuild dr1.Object
      qserv table rebuild dr1.Source --dry-run
      qserv table rebuild dr1.Object --overlap 120
    """
    from qserv.cli.bar import load_bar

    _arm()
    how["overlap"] = None if overlap is None else overlap / 3600
    with open_czar(czar, directory) as db, load_bar(name) as progress:
        report = db.rebuild_table(name, progress=progress, **_given(how))
    reach = "" if overlap is None else f" with an overlap of {overlap:g} arcsec"
    click.echo(_done(report, f"made anew{reach}"))


@click.command(name="add-column")
@click.argument("name", metavar="RELEASE.TABLE")
@click.argument("column")
@click.argument("datatype", metavar="TYPE")
@click.option("--default", help="The value of all rows.  [NULL]")
@click.option(
    "--from",
    "values",
    metavar="FILE",
    help="File with the key and the value of rows; others get NULL.",
)
@click.option("--key", help="Column of the keys in FILE.  [the table's key or id]")
@click.option("--unit", help="VOUnit, such as nJy.")
@click.option("--ucd", help="UCD1+, such as phot.flux.")
@click.option("--description", help="What the values are.")
@click.option(
    "--rejects",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV that tells which rows of FILE are wrong.  [none]",
)
@_work_options
@czar_options
def add_column(*, name: str, czar: str | None, directory: Path, **how: Any) -> None:
    """Add COLUMN of TYPE to RELEASE.TABLE, behind its other columns.

    TYPE is BOOLEAN, SMALLINT, INTEGER, BIGINT, REAL, DOUBLE, VARCHAR or TIMESTAMP.
    FILE has a column named like the key and one named like COLUMN, in any format that
    can be loaded; its other columns are left out. A key that is there twice, or that
    no row has, is an error, and nothing is changed.

    \b
    Examples:
      qserv table add-column dr1.Object checked BOOLEAN --default false
      qserv table add-column dr1.Object z REAL --from z.csv --ucd src.redshift
      qserv table add-column dr1.Source band VARCHAR --from bands.parquet --key visit
    """
    from qserv.cli.bar import load_bar

    _arm()
    with open_czar(czar, directory) as db, load_bar(name) as progress:
        report = db.add_column(name, progress=progress, **_given(how))
    click.echo(_done(report, f"has column {how['column']}"))


def _arm() -> None:
    from qserv import config

    failpoint.arm(config.load(config.LoadConfig).failpoint)


def _given(how: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in how.items() if value is not None}


def _done(report: "LoadReport", what: str) -> str:
    ((table, rows),) = report.kept.items()
    made = report.tables[table]
    size = f"{rows:,} rows in {made.files:,} files, {made.size / 2**20:,.1f} MiB a copy"
    if report.dry:
        return f"would be done: {report.release}.{table} {what}: {size}"
    again = "went on with what was stopped: " if report.resumed else ""
    where = f"snapshot {report.snapshot}, {report.seconds:.1f} s"
    return f"{again}{report.release}.{table} {what}: {size}; {where}"
