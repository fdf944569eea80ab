"""``qserv doctor``: check everything, and say what to do."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from qserv.cli.endpoint import czar_options, open_czar
from qserv.errors import ClusterError, QservError, UserError

if TYPE_CHECKING:
    from qserv.catalog.health import Finding

_COLOURS: Final = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command(short_help="Check everything, and say what to do.")
@click.option(
    "--verify",
    is_flag=True,
    help="Of a cluster that is stopped: compare every file with its checksum.",
)
@click.option(
    "--fix",
    is_flag=True,
    help="First mend what needs nobody's decision: scrub the workers that need it.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@czar_options
def doctor(
    *, verify: bool, fix: bool, as_json: bool, czar: str | None, directory: Path
) -> None:
    """Check a cluster: metadata, workers, copies, files, loads, clocks, disks.

    Changes nothing without --fix, and deletes nothing with it. Of a cluster that is
    stopped it reads the directories. To have a running cluster read all its files, use
    qserv scrub. Ends with 1 if there is a problem; a warning is none.

    \b
    Examples:
      qserv doctor
      qserv doctor --czar 10.0.0.1:7480 --json | jq '.findings[] | select(.level!="ok")'
      qserv doctor --fix
      qserv doctor --dir qserv-data --verify
    """
    from qserv.catalog.checks import worst
    from qserv.catalog.health import Level

    found = list(_findings(czar, directory, verify=verify))
    if fix and (workers := sorted({each.scrub for each in found if each.scrub})):
        scrub(czar, directory, workers)
        found = list(_findings(czar, directory, verify=verify))
    level = worst(found)
    if as_json:
        values = [
            {"check": f.check, "level": f.level, "text": f.text, "remedy": f.remedy}
            for f in found
        ]
        click.echo(json.dumps({"level": level, "findings": values}, indent=2))
    else:
        for line in told(found):
            click.echo(line)
    if level is Level.PROBLEM:
        sys.exit(1)


def told(found: Iterable["Finding"]) -> Iterator[str]:
    """Yield a line for each finding, and one for each remedy."""
    for each in found:
        level = click.style(f"{each.level:<8}", fg=_COLOURS[each.level])
        yield f"{level} {each.check:<10} {each.text}"
        if each.remedy:
            yield f"{'':<19} → {each.remedy}"


def scrub(czar: str | None, directory: Path, workers: Sequence[str]) -> None:
    """Have workers read all their files, and tell what came of it (on stderr)."""
    from qserv.cli.scrub import report, scrubbed

    click.echo(f"scrubbing {', '.join(workers)} …", err=True)
    with open_czar(czar, directory) as db:
        for line in report(scrubbed(db, workers).items()):
            click.echo(line, err=True)


def _findings(
    czar: str | None, directory: Path, *, verify: bool
) -> Iterator["Finding"]:
    from qserv.catalog.health import Finding, Level

    try:
        yield from _running(czar, directory)
    except ClusterError as error:
        remedy = "start it: qserv up, or qserv czar"
        yield Finding("czar", Level.PROBLEM, error.text, remedy)
    except UserError as error:
        if czar is not None:
            raise
        yield from _stopped(directory, error, verify=verify)


def _running(czar: str | None, directory: Path) -> Iterator["Finding"]:
    with open_czar(czar, directory) as db:
        before = time.time()
        found = db.checks.examine()
        skew = max(0.0, before - found.clock, found.clock - time.time())
        yield from _of_czar(db.endpoint, found.version, skew)
    yield from found.findings


def _of_czar(endpoint: str, czar: str, skew: float) -> Iterator["Finding"]:
    from importlib.metadata import version

    from qserv.catalog.checks import SKEW
    from qserv.catalog.health import Finding, Level

    yield Finding("czar", Level.OK, f"answers at {endpoint}")
    if czar != (mine := version("qserv")):
        text = f"this command is qserv {mine}, the czar {czar}"
        yield Finding("czar", Level.WARNING, text, "use the same version")
    if skew > SKEW:
        text = f"its clock is {skew:.0f} s away from this machine's"
        remedy = "let both machines keep time (chrony or systemd-timesyncd)"
        yield Finding("czar", Level.WARNING, text, remedy)


def _stopped(
    directory: Path, reason: QservError, *, verify: bool
) -> Iterator["Finding"]:
    from qserv.catalog.checks import findings
    from qserv.catalog.health import Finding, Level
    from qserv.local import offline

    if not directory.is_dir():
        raise reason
    text = f"no cluster runs in {directory}: its directories are read"
    yield Finding("czar", Level.WARNING, text, f"qserv up --dir {directory}")
    if (directory / "endpoint").exists():
        text = "the endpoint file was left by a cluster that is gone"
        remedy = "the next qserv up replaces it"
        yield Finding("czar", Level.WARNING, text, remedy)
    try:
        yield from findings(offline.examine(directory, verify=verify))
    except QservError as error:
        remedy = "qserv metadata restore BACKUP, or qserv metadata rebuild"
        yield Finding("metadata", Level.PROBLEM, error.text, remedy)
