"""The command ``qserv``: its verbs, and how errors look."""

import sys
from typing import Any

import click
from typing_extensions import override

from qserv.cli.demo import demo
from qserv.cli.doctor import doctor
from qserv.cli.load import load
from qserv.cli.loads import loads
from qserv.cli.metadata import metadata
from qserv.cli.placement import placement
from qserv.cli.programs import czar, worker
from qserv.cli.schema import schema
from qserv.cli.scrub import scrub
from qserv.cli.skymap import skymap
from qserv.cli.sql import sql
from qserv.cli.status import status
from qserv.cli.table import table
from qserv.cli.up import up
from qserv.cli.view import view
from qserv.errors import Fault, QservError

REPORT = "please report this with the command and the logs"


class Commands(click.Group):
    """A group whose commands end with one clear line when they fail."""

    @override
    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; turn our errors into a line and an exit status."""
        try:
            return super().invoke(ctx)
        except QservError as error:
            click.echo(f"error {error.code}: {error.text}", err=True)
            _tell_notes(error)
            if error.fault is Fault.QSERV:
                click.echo(REPORT, err=True)
            ctx.exit(2 if error.fault is Fault.USER else 1)
        except KeyboardInterrupt as stop:
            # click says no more than that it was aborted.
            _tell_notes(stop)
            raise

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which a newcomer meets them."""
        return list(self.commands)


def _tell_notes(error: BaseException) -> None:
    for note in getattr(error, "__notes__", ()):
        click.echo(f"  {note}", err=True)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
    epilog="Start with: qserv demo",
)
@click.version_option(package_name="qserv")
def main() -> None:
    """A shared-nothing distributed catalog database for sky surveys.

    \b
    qserv up                                     a whole cluster on this machine
    qserv load mine --sidecar mine.sidecar.yaml Object=objects.csv
    qserv sql "SELECT COUNT(*) FROM mine.Object"
    qserv czar, qserv worker                     one process each, on many machines
    """  # noqa: D401 click prints it as it stands


for command in (
    demo,
    up,
    schema,
    load,
    loads,
    sql,
    table,
    view,
    status,
    placement,
    skymap,
    metadata,
    doctor,
    scrub,
    czar,
    worker,
):
    main.add_command(command)


if __name__ == "__main__":
    sys.exit(main())
