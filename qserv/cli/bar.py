"""A progress bar for loads: moving in a terminal, a line a phase elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from qserv.client.loading import LoadProgress


@contextmanager
def load_bar(label: str) -> Iterator[Callable[["LoadProgress"], None]]:
    """Show on standard error how far a load is.

    Parameters
    ----------
    label
        What is loaded.

    Yields
    ------
    Callable
        To be given to `Connection.load` as `progress`.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with _moving_bar(label, console) as show:
            yield show
    else:
        yield _lines(label)


@contextmanager
def _moving_bar(label: str, console: object) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    assert isinstance(console, Console)
    columns = (
        TextColumn("{task.description:<32}"),
        BarColumn(),
        TextColumn("{task.fields[rows]:>12}"),
        TextColumn("{task.fields[rate]:>14}"),
        TextColumn("{task.elapsed:.0f} s"),  # rich's own stops when a phase is whole
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(label, rows="", rate="", total=None)

        def show(at: "LoadProgress") -> None:
            bar.update(
                task,
                description=f"{label}: {_does(at)}",
                completed=at.rows,
                total=at.total_rows,
                rows=f"{at.rows:,} rows" if at.rows else "",
                rate="" if at.left is None else f"{at.left:.0f} s left",
            )

        yield show


def _lines(label: str) -> Callable[["LoadProgress"], None]:
    told: set[str] = set()

    def show(at: "LoadProgress") -> None:
        if (line := _does(at)) not in told:
            told.add(line)
            click.echo(f"  {label}: {line}", err=True)

    return show


def _does(at: "LoadProgress") -> str:
    return f"{at.phase}: {at.reason}" if at.reason else f"{at.phase} {at.table}".strip()
