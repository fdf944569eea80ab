"""``qserv load``: files into a release."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qserv import failpoint
from qserv.cli.endpoint import czar_options, open_czar
from qserv.cli.inputs import by_table

if TYPE_CHECKING:
    from qserv.client.loading import LoadReport


@click.command(short_help="Load Parquet or CSV files into a release.")
@click.argument("release")
@click.argument("inputs", nargs=-1, required=True, metavar="TABLE=FILES...")
@click.option(
    "--schema",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Felis YAML with the columns.  [the files' own]",
)
@click.option(
    "--sidecar",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML with kind, key and position of each table.  [beside --schema]",
)
@click.option("--family", help="Releases that share a chunk tree.  [RELEASE]")
@click.option("--replicas", type=int, help="Copies of each chunk.  [the czar's]")
@click.option(
    "--overlap",
    type=float,
    help="Overlap radius of new tables, arcsec.  [the family's, or 60]",
)
@click.option(
    "--leaf-rows", type=int, help="Director rows that split a leaf of a new tree."
)
@click.option("--leaf-bytes", type=int, help="Bytes that split a leaf of a new tree.")
@click.option(
    "--max-rejects",
    type=click.IntRange(min=0),
    help="Bad rows that may be left out.  [0]",
)
@click.option(
    "--rejects",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV that tells them.  [qserv-rejects-RELEASE.csv]",
)
@click.option(
    "--dry-run", is_flag=True, help="Read and cut, tell what it would make, load none."
)
@click.option(
    "--replace",
    is_flag=True,
    help="The tables named get these rows in place of those that they have.",
)
@click.option(
    "--replace-files",
    is_flag=True,
    help="Files loaded before with other content replace the rows they brought then.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=0),
    help="That read and cut.  [cores + 1]",
)
@click.option("--dask", metavar="ADDRESS", help="Dask scheduler to do it instead.")
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False),
    help="For what is under way; all processes see it.  [temporary files]",
)
@click.option("--format", "file_format", help="Of all files.  [by their names]")
@click.option("--delimiter", help="Of CSV.  [,]")
@click.option("--no-header", is_flag=True, help="CSV without a first line of names.")
@click.option("--null", "nulls", multiple=True, help="A text that is NULL in CSV.")
@click.option("--quote", help='Quotes values of CSV.  ["]')
@click.option("--escape", help="Takes the meaning from the next character of CSV.")
@click.option("--hdu", "table", help="Name or number of a FITS or VOTable table.")
@click.option("--pipeline", help="Name and version of what made the files.")
@click.option("--configuration", help="Hash of that pipeline's configuration.")
@click.option("--input-id", "input_ids", multiple=True, help="What that pipeline read.")
@czar_options
def load(
    *,
    release: str,
    inputs: tuple[str, ...],
    overlap: float | None,
    czar: str | None,
    directory: Path,
    **how: Any,
) -> None:
    """Load files into tables of RELEASE: visible whole at the end, or not at all.

    FILES is a file, a quoted pattern, a directory or a URI (s3://bucket/key) of
    Parquet, CSV, TSV, FITS, VOTable, ECSV or Arrow files; a table may be named several
    times. Files that are loaded already are left out, and the same command goes on
    with a load that was stopped. With --replace, readers see the old tables until they
    see the new ones, which may have other columns; older snapshots keep the old. The
    sidecar says how rows are spread:

    \b
      tables:
        Object: {kind: director, key: objectId, position: [ra, dec]}
        Source: {kind: child, director: Object, key: objectId, id: sourceId}
        Match: {kind: ref-match, director: Object, key: objectId,
                second_director: RefObject, second_key: refId}
        Filter: {kind: replicated}

    \b
    Examples:
      qserv load mine --sidecar mine.sidecar.yaml Object=objects.csv
      qserv load dr1 --schema dr1.yaml "Object=dr1/object/*.parquet" Source=dr1/source/
      qserv load deep --schema deep.yaml --leaf-rows 3000 Object=deep.parquet
      qserv load dr1 --schema dr1.yaml --dry-run Object=dr1/object/
      qserv load dr1 --schema dr1.yaml --max-rejects 100 Object=dr1/object/
      qserv load dr1 --replace Object=again/object/ Source=again/source/
      qserv load dr1 --replace-files Source=nights/night1.parquet
      qserv load dr1 --schema dr1.yaml --dask tcp://10.0.0.1:8786 Object=dr1/object/
    """
    from qserv import config
    from qserv.cli.bar import load_bar

    failpoint.arm(config.load(config.LoadConfig).failpoint)
    files = by_table(inputs)
    how["overlap"] = None if overlap is None else overlap / 3600
    with open_czar(czar, directory) as db, load_bar(release) as progress:
        reading = _reading(how)
        how["rejects"] = how["rejects"] or Path(f"qserv-rejects-{release}.csv")
        given = {name: value for name, value in how.items() if value is not None}
        report = db.load(release, files, reading=reading, progress=progress, **given)
    click.echo(summary(report))


def _reading(how: dict[str, Any]) -> dict[str, Any]:
    """Take out of the options what says how files are read."""
    said = {name: how.pop(name) for name in ("delimiter", "quote", "escape", "table")}
    said |= {"format": how.pop("file_format"), "nulls": how.pop("nulls") or None}
    if how.pop("no_header"):
        said["header"] = False
    return {name: value for name, value in said.items() if value is not None}


def summary(report: "LoadReport") -> str:
    """Return what a load did, in a few lines."""
    if not report.rows and report.already:
        return (
            f"loaded already: {_files(len(report.already))} of {report.release}, by "
            f"snapshot {report.snapshot} at the latest; nothing was done"
        )
    tables = ", ".join(f"{rows:,} {table}" for table, rows in report.rows.items())
    if report.dry:
        done = f"would load {report.release}: {tables}; {report.chunks} chunks"
        return "\n".join([done, *_plan(report), *_notes(report)])
    again = "went on with a load that was stopped, and " if report.resumed else ""
    where = f"{report.chunks} chunks, snapshot {report.snapshot}"
    done = (
        f"{again}loaded {report.release} in {report.seconds:.1f} s: {tables}; {where}"
    )
    return "\n".join([done, *_notes(report)])


def _notes(report: "LoadReport") -> Iterator[str]:
    for table, rows in report.replaced.items():
        would = "would go" if report.dry else "went"
        if (kept := report.kept.get(table)) is None:
            yield f"{table}: replaced; the {rows:,} rows that it had {would}"
        else:
            beside = f"; {kept:,} rows beside them were read again"
            yield f"{table}: the {rows:,} rows that files had brought {would}{beside}"
    if report.nulled:
        yield f"{report.nulled:,} NaN became NULL"
    if report.wrapped:
        yield f"{report.wrapped:,} right ascensions were wrapped into [0, 360)"
    if report.rejected:
        would = "would be" if report.dry else "were"
        yield f"{report.rejected:,} bad rows {would} left out: {report.rejects}"
    if report.already:
        yield f"{_files(len(report.already))} left out: loaded already"


def _plan(report: "LoadReport") -> Iterator[str]:
    """Tell what a dry run found."""
    orders = ", ".join(f"{n} of order {order}" for order, n in report.orders.items())
    yield f"the tree has {orders}"
    for name, table in report.tables.items():
        size = f"{table.size / 2**20:,.1f} MiB"
        yield (
            f"{name}: {table.rows:,} rows and {table.overlap_rows:,} in overlaps, "
            f"{_files(table.files)}, {size} a copy"
        )


def _files(count: int) -> str:
    return f"{count:,} file" if count == 1 else f"{count:,} files"
