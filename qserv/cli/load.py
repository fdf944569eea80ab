"""``qserv load``: files into a release."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qserv import failpoint
from qserv.cli.endpoint import czar_options, open_czar
from qserv.errors import InvalidRequest

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
@click.option("--overlap", type=float, help="Overlap radius, arcsec.  [60]")
@click.option(
    "--leaf-rows", type=int, help="Director rows that split a leaf of a new tree."
)
@click.option("--leaf-bytes", type=int, help="Bytes that split a leaf of a new tree.")
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

    FILES is a file, a quoted pattern or a directory of Parquet or CSV files; a table
    may be named several times. The sidecar says how rows are spread:

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
    """
    from qserv import config
    from qserv.cli.bar import load_bar

    failpoint.arm(config.load(config.LoadConfig).failpoint)
    files = _by_table(inputs)
    how["overlap"] = None if overlap is None else overlap / 3600
    with open_czar(czar, directory) as db, load_bar(release) as progress:
        report = db.load(release, files, progress=progress, **how)
    click.echo(summary(report))


def _by_table(inputs: tuple[str, ...]) -> dict[str, list[str]]:
    tables: dict[str, list[str]] = {}
    for each in inputs:
        table, equals, pattern = each.partition("=")
        if not (table and equals and pattern):
            raise InvalidRequest(f"{each!r} is not TABLE=FILES, as in Object=o.parquet")
        tables.setdefault(table, []).append(pattern)
    return tables


def summary(report: "LoadReport") -> str:
    """Return what a load did, in one or two lines."""
    tables = ", ".join(f"{rows:,} {table}" for table, rows in report.rows.items())
    where = f"{report.chunks} chunks, snapshot {report.snapshot}"
    lines = [f"loaded {report.release} in {report.seconds:.1f} s: {tables}; {where}"]
    if report.nulled:
        lines.append(f"{report.nulled:,} NaN became NULL")
    if report.wrapped:
        lines.append(f"{report.wrapped:,} right ascensions were wrapped into [0, 360)")
    return "\n".join(lines)
