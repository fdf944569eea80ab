"""``qserv scrub``: have workers compare all files with their checksums."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from qserv.cli.endpoint import czar_options, open_czar

if TYPE_CHECKING:
    from qserv.client.checking import ScrubStep
    from qserv.client.connection import Connection

_MB: Final = 10**6


@dataclass(slots=True)
class Outcome:
    """What the scrub of one worker found.

    Parameters
    ----------
    files, size
        That were read; bytes.
    damaged
        Bad and missing files, and what was found.
    unknown
        Files that no manifest names.
    trouble
        What else is wrong.
    """

    files: int = 0
    size: int = 0
    damaged: list[tuple[str, str]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    def add(self, step: "ScrubStep") -> None:
        """Take in a step."""
        if step.error is not None:
            self.trouble.append(step.error.text)
            return
        self.files, self.size = step.files, step.size
        self.damaged += step.damaged
        self.unknown += step.unknown
        self.trouble += step.trouble


@click.command(short_help="Compare all files with their checksums.")
@click.option(
    "--worker",
    "workers",
    multiple=True,
    metavar="ID",
    help="Only this worker; may be given several times.  [all that are alive]",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=0.0,
    help="MB a second that each worker reads at most.  [as its disk gives]",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@czar_options
def scrub(
    *,
    workers: tuple[str, ...],
    rate: float,
    as_json: bool,
    czar: str | None,
    directory: Path,
) -> None:
    """Read every file of every worker now, and compare it with its checksum.

    Workers do so in the background anyway (settings verify_age and
    scrub_bytes_per_second). A bad copy is moved into its worker's quarantine at once
    and copied again from another worker; queries go on meanwhile. Ctrl-C stops it.
    Ends with 1 if anything was found.

    \b
    Examples:
      qserv scrub
      qserv scrub --worker w-1a2b3c4d --rate 50
      qserv scrub --json | jq '.[] | .damaged'
    """
    with open_czar(czar, directory) as db:
        found = scrubbed(db, workers, rate=int(rate * _MB))
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps({w: asdict(of) for w, of in found.items()}, indent=2))
    else:
        for line in report(found.items()):
            click.echo(line)
    if any(each.damaged or each.trouble for each in found.values()):
        sys.exit(1)


def scrubbed(
    db: "Connection", workers: Sequence[str], *, rate: int = 0
) -> dict[str, Outcome]:
    """Scrub workers (none: all), show how far that is, and return what was found."""
    found: dict[str, Outcome] = {}
    with _shown() as show:
        for step in db.checks.scrub(workers, rate=rate):
            found.setdefault(step.worker, Outcome()).add(step)
            show(step)
    return found


def report(found: Iterable[tuple[str, Outcome]]) -> Iterator[str]:
    """Yield what was found, for people."""
    for worker, of in sorted(found):
        for _, reason in of.damaged:
            yield f"damaged  {worker}  {reason}"
        for text in of.trouble:
            yield f"trouble  {worker}  {text}"
        for path in of.unknown:
            yield f"unknown  {worker}  {path}: no manifest names it"
        yield (
            f"{worker}: {of.files:,} files, {of.size / _MB:,.1f} MB; "
            f"{len(of.damaged) or 'none'} damaged"
        )


@contextmanager
def _shown() -> Iterator[Callable[["ScrubStep"], None]]:
    """Show bars on standard error where that is a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    columns: tuple[Any, ...] = (
        "{task.description}",
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        tasks: dict[str, Any] = {}

        def show(step: "ScrubStep") -> None:
            if step.worker not in tasks:
                tasks[step.worker] = bar.add_task(step.worker, total=None)
            if step.error is None:
                total = step.size_total
                bar.update(tasks[step.worker], completed=step.size, total=total)

        yield show
