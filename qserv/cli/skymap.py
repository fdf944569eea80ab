"""``qserv map``: where on the sky the rows of a table are."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qserv.cli.endpoint import czar_options, open_czar
from qserv.errors import InvalidRequest, UnknownName

if TYPE_CHECKING:
    from qserv.client.status import Status


@click.command("map", short_help="Draw the rows of each chunk on the sky.")
@click.argument("tables", nargs=-1, required=True, metavar="RELEASE.TABLE...")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("sky.png"),
    show_default=True,
    help="The PNG file to write.",
)
@czar_options
def skymap(
    *, tables: tuple[str, ...], output: Path, czar: str | None, directory: Path
) -> None:
    """Draw how many rows each chunk of a table has, as a map of the sky (PNG).

    \b
    Examples:
      qserv map hip.ForcedSource
      qserv map hip.Object deep.Object -o sky.png
    """
    with open_czar(czar, directory) as db:
        draw_tables(db.status(), tables, output)
    click.echo(f"wrote {output}")


def draw_tables(status: "Status", tables: tuple[str, ...], output: Path) -> None:
    """Draw tables named ``release.table`` into a PNG file.

    Raises
    ------
    UnknownName
        If there is no such table.
    InvalidRequest
        If a table has no chunks with rows, or the file cannot be written.
    """
    from qserv.cli.drawing import ChunkMap, draw
    from qserv.cli.output import whole_file

    maps = []
    for name in tables:
        release, _, table = name.rpartition(".")
        if (found := status.find(release, table)) is None:
            raise UnknownName(f"there is no table {name}; `qserv status` lists them")
        if not found.chunk_ids.size or found.kind == "replicated":
            raise InvalidRequest(f"the rows of {name} lie in no chunk of the sky")
        maps.append(ChunkMap.of(name, found))
    with whole_file(output) as file:
        draw(maps, file)
