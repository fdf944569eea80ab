"""Which czar a command talks to."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from qserv.client.connection import Connection

DEFAULT_DIRECTORY: Final = Path("qserv-data")

F = TypeVar("F", bound=Callable[..., Any])


def czar_options(command: F) -> F:
    """Add ``--czar`` and ``--dir`` to a command, as `czar` and `directory`."""
    command = click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_DIRECTORY,
        show_default=True,
        help="Directory of a cluster on this machine (qserv up).",
    )(command)
    return click.option(
        "--czar",
        metavar="HOST:PORT",
        envvar="QSERV_CZAR",
        show_envvar=True,
        help="The czar to ask, rather than the one of --dir.",
    )(command)


def open_czar(czar: str | None, directory: Path) -> "Connection":
    """Connect to the czar that the options name.

    Raises
    ------
    InvalidRequest
        If no czar is named and no cluster runs in the directory.
    CzarUnavailable
        If it does not answer.
    """
    from qserv.client.connection import connect
    from qserv.local import read_endpoint

    return connect(czar or read_endpoint(directory))
