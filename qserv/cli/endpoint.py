"""Which czar a command talks to."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from qserv.client.connection import Connection

DEFAULT_DIRECTORY: Final = Path("qserv-data")

F = TypeVar("F", bound=Callable[..., Any])


def directory_option(says: str) -> Callable[[F], F]:
    """Return what adds ``--dir`` to a command, as `directory`, with its help."""
    return click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_DIRECTORY,
        show_default=True,
        help=says,
    )


def czar_options(command: F) -> F:
    """Add ``--czar`` and ``--dir`` to a command, as `czar` and `directory`."""
    command = directory_option("Directory of a cluster on this machine (qserv up).")(
        command
    )
    return click.option(
        "--czar",
        metavar="HOST:PORT",
        envvar="QSERV_CZAR",
        show_envvar=True,
        help="The czar to ask, rather than the one of --dir; --dir on the command line"
        " goes before the variable.",
    )(command)


def open_czar(czar: str | None, directory: Path) -> "Connection":
    """Connect to the czar that the options name.

    A ``--dir`` that was written goes before a czar that only the environment names.

    Raises
    ------
    InvalidRequest
        If no czar is named and no cluster runs in the directory.
    CzarUnavailable
        If it does not answer.
    """
    from qserv.client.connection import connect
    from qserv.local import read_endpoint

    if czar is None or (_written("directory") and not _written("czar")):
        czar = read_endpoint(directory)
    return connect(czar)


def shell_directory(directory: Path) -> str:
    """Return the ``--dir`` that a shell needs for a directory, with a space before."""
    if directory == DEFAULT_DIRECTORY:
        return ""
    return f" --dir {shlex.quote(str(directory))}"


def _written(option: str) -> bool:
    context = click.get_current_context()
    return context.get_parameter_source(option) is ParameterSource.COMMANDLINE
