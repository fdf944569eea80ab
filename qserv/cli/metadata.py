"""``qserv metadata``: save the metadata, make it of a save again, or of the workers."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qserv.cli.endpoint import directory_option
from qserv.cli.view import Verbs
from qserv.errors import InvalidRequest

if TYPE_CHECKING:
    from qserv.catalog.backends import Backend
    from qserv.catalog.checkpoint import PartName
    from qserv.catalog.gathered import Held
    from qserv.catalog.rebuild import Report

F = TypeVar("F", bound=Callable[..., Any])


def _place_options(command: F) -> F:
    command = click.option(
        "--metadata",
        "place",
        metavar="PLACE",
        default="",
        envvar="QSERV_METADATA",
        show_envvar=True,
        help="sqlite, or postgresql://USER@HOST/DATABASE.  [where it was]",
    )(command)
    return directory_option(
        "Directory of a cluster on this machine (qserv up), or of a czar."
    )(command)


force_option = click.option(
    "--force", is_flag=True, help="Replace the metadata that is there."
)


@click.group(cls=Verbs, short_help="Back up, restore and rebuild the metadata.")
def metadata() -> None:
    """Save what the czar knows: releases, tables, files, views, loads.

    \b
    Examples:
      qserv metadata backup monday.qserv
      qserv metadata restore monday.qserv
      qserv metadata restore monday.qserv --metadata postgresql://qserv@db1/qserv
      qserv metadata rebuild
      qserv metadata accept
    """


@metadata.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_place_options
def backup(*, file: Path, directory: Path, place: str) -> None:
    """Write all metadata to FILE, as it is now; the czar may be running.

    FILE can be restored into SQLite and into PostgreSQL. Rows of tables are not in it:
    they are with the workers.

    \b
    Examples:
      qserv metadata backup monday.qserv
      qserv metadata backup --dir /data/czar /backups/qserv-$(date +%F)
      qserv metadata backup --metadata postgresql://qserv@db1/qserv monday.qserv
    """
    from qserv.catalog import backup as of_backup

    source = _existing(directory, place)
    try:
        made = of_backup.backup(source, file, seen=_progress())
    finally:
        source.close()
    click.echo(f"{made.rows:,} rows of metadata are in {file}")


@metadata.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@force_option
@_place_options
def restore(*, file: Path, force: bool, directory: Path, place: str) -> None:
    """Make the metadata of FILE again, for a czar that is stopped.

    What was loaded after FILE was written is not in it. The workers may still have it:
    `qserv metadata rebuild` finds it there.

    \b
    Examples:
      qserv metadata restore monday.qserv
      qserv metadata restore monday.qserv --metadata postgresql://qserv@db1/qserv
      qserv metadata restore --force --dir /data/czar monday.qserv
    """
    from qserv.catalog import backup as of_backup
    from qserv.catalog.backends import remember

    target = _target(directory, place)
    try:
        made = of_backup.restore(file, target, force=force, seen=_progress())
    finally:
        target.close()
    remember(_czar(directory), target)
    click.echo(f"the metadata in {target} is as it was at {made.made}")


@metadata.command()
@_place_options
def accept(*, directory: Path, place: str) -> None:
    """Go on with metadata that is older than what workers remember.

    The czar is stopped. After `restore`, workers may remember what was loaded since
    FILE was written. A czar then says so and publishes nothing, until that was found
    again with `rebuild`, or until this command: what is newer is forgotten, and has to
    be loaded again.

    \b
    Examples:
      qserv metadata accept
      qserv metadata accept --dir /data/czar
    """
    from contextlib import closing

    from qserv.catalog.store import Store

    _existing(directory, place).close()
    with closing(Store.open(_czar(directory), place)) as store:
        snapshot = store.accept()
    click.echo(f"the metadata is taken for the newest, from snapshot {snapshot.id} on")


@metadata.command()
@click.option(
    "--worker",
    "workers",
    multiple=True,
    metavar="HOST:PORT",
    help="A worker to ask; may be given several times.",
)
@click.option(
    "--worker-dir",
    "worker_directories",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The directory of a worker to read; several times, too.  [all in --dir]",
)
@click.option(
    "--allow-loss",
    is_flag=True,
    help="Go on where files are missing: older versions of tables, or none.",
)
@force_option
@_place_options
def rebuild(
    *,
    workers: tuple[str, ...],
    worker_directories: tuple[Path, ...],
    allow_loss: bool,
    force: bool,
    directory: Path,
    place: str,
) -> None:
    """Make lost metadata again of what the workers have; the czar is stopped.

    Workers remember the catalog and have lists of their files. Of each table the newest
    version is found that was acknowledged to its loader; a load that was under way is
    aborted. If files are missing nothing is done, unless with --allow-loss.

    \b
    Examples:
      qserv metadata rebuild
      qserv metadata rebuild --dir /data/czar --worker 10.0.0.2:7481 \\
                             --worker 10.0.0.3:7481
      qserv metadata rebuild --worker-dir /data/w1 --worker-dir /data/w2
    """
    from qserv.catalog.backends import remember
    from qserv.catalog.rebuild import rebuild as make

    helds = _helds(directory, workers, worker_directories)
    target = _target(directory, place)
    try:
        report = make(
            helds, target, force=force, allow_loss=allow_loss, seen=_progress()
        )
    finally:
        target.close()
    remember(_czar(directory), target)
    _tell(report, str(target))


def _tell(report: "Report", where: str) -> None:
    click.echo(
        f"the metadata in {where} was made of {len(report.workers)} workers and their "
        f"catalog of {report.made}: {report.tables:,} tables, {report.files:,} files, "
        f"{report.copies:,} copies"
    )
    for load in report.aborted:
        click.echo(f"load {load} was under way: it is aborted, load its files again")
    for worker in report.missing:
        click.echo(f"worker {worker} was not read: its copies are not listed", err=True)
    for lost in report.lost:
        click.echo(f"lost: {lost}", err=True)


def _helds(
    directory: Path, workers: tuple[str, ...], directories: tuple[Path, ...]
) -> "list[Held]":
    from qserv.client.recollection import recall
    from qserv.storage.layout import WorkerDirectory
    from qserv.storage.recollection import recollect

    if not workers and not directories:
        directories = tuple(sorted(directory.glob("worker-*")))
    if not workers and not directories:
        raise InvalidRequest(
            f"there are no workers in {directory}: name them with --worker HOST:PORT, "
            "or their directories with --worker-dir"
        )
    return [
        *(recollect(WorkerDirectory(each.resolve())) for each in directories),
        *(recall(each) for each in workers),
    ]


def _czar(directory: Path) -> Path:
    """Return the czar's directory of a cluster's, or of itself."""
    return directory / "czar" if any(directory.glob("worker-*")) else directory


def _target(directory: Path, place: str) -> "Backend":
    from qserv.catalog.backends import backend

    return backend(_czar(directory), place)


def _existing(directory: Path, place: str) -> "Backend":
    from qserv.catalog.backends import FILE, SQLITE, remembered

    czar = _czar(directory)
    place = place or remembered(czar)
    if place == SQLITE and not (czar / FILE).exists():
        raise InvalidRequest(
            f"there is no metadata in {czar}: name its directory with --dir, or its "
            "database with --metadata postgresql://USER@HOST/DATABASE"
        )
    return _target(directory, place)


def _progress() -> "Callable[[PartName], None]":
    """Say on standard error which table is done, and how many rows."""
    rows: dict[str, int] = {}

    def seen(part: "PartName") -> None:
        rows[part.table] = rows.get(part.table, 0) + part.rows
        if sys.stderr.isatty():
            click.echo(
                f"\r\x1b[K  {part.table}: {rows[part.table]:,} rows", nl=False, err=True
            )
        elif rows[part.table] == part.rows:
            click.echo(f"  {part.table}", err=True)

    if sys.stderr.isatty():
        click.get_current_context().call_on_close(
            lambda: click.echo("\r\x1b[K", nl=False, err=True)
        )
    return seen
