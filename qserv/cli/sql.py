"""``qserv sql``: ask, and see or keep the answer."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qserv.cli.endpoint import czar_options, open_czar
from qserv.errors import InvalidRequest

if TYPE_CHECKING:
    from qserv.client.result import Result


@click.command(short_help="Answer a query.")
@click.argument("query")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "csv", "parquet", "json"]),
    help="How to write the rows.  [by --output's ending; table]",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write to, whole or not at all.  [standard output]",
)
@click.option("--explain", is_flag=True, help="Print the plan; run nothing.")
@click.option(
    "--analyze", is_flag=True, help="Run, drop the rows; print plan and what happened."
)
@click.option("--release", default="", help="Where tables without a schema are.")
@click.option(
    "--snapshot", type=int, metavar="N", help="Read the tables as of it.  [the newest]"
)
@click.option(
    "--max-rows",
    type=click.IntRange(min=0),
    help="Rows after which the answer is cut.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds after which the query stops.",
)
@czar_options
def sql(
    *,
    query: str,
    style: str | None,
    output: Path | None,
    explain: bool,
    analyze: bool,
    release: str,
    snapshot: int | None,
    max_rows: int | None,
    timeout: float | None,
    czar: str | None,
    directory: Path,
) -> None:
    """Answer QUERY (ADQL; "-" reads it from standard input).

    Rows go to standard output or --output; what there is to say about them goes to
    standard error.

    \b
    Examples:
      qserv sql "SELECT TOP 5 objectId, Hpmag FROM hip.Object ORDER BY Hpmag"
      qserv sql --format csv "SELECT * FROM hip.Filter"
      qserv sql -o cone.parquet "SELECT * FROM deep.Object WHERE
          CONTAINS(POINT(ra, dec), CIRCLE(150.1, 2.2, 0.02)) = 1"
      qserv sql --explain "SELECT COUNT(*) FROM hip.Source WHERE psfFlux > 1e9"
      qserv sql "EXPLAIN ANALYZE SELECT AVG(Hpmag) FROM hip.Object"
      qserv sql --snapshot 12 "SELECT COUNT(*) FROM hip.Object"
    """
    from qserv.cli.output import whole_file, write
    from qserv.dialects.statements import Mode, explained

    text = sys.stdin.read() if query == "-" else query
    mode, _ = explained(text)
    if mode is not Mode.RUN and not (explain or style or output):
        explain, analyze = True, analyze or mode is Mode.ANALYZE
    style = style or _style_of(output)
    if style == "parquet" and output is None and sys.stdout.isatty():
        raise InvalidRequest("Parquet is not for a terminal: name a file with --output")
    how: dict[str, Any] = {
        "snapshot": snapshot,
        "release": release,
        "timeout": timeout,
    }
    with open_czar(czar, directory) as db:
        if explain or analyze:
            click.echo(db.explain(text, analyze=analyze, **how))
            return
        with db.query(text, max_rows=max_rows, **how) as got:
            if output is None:
                write(got, style, sys.stdout.buffer)
            else:
                with whole_file(output) as file:
                    write(got, style, file)
            click.echo(_summary(got), err=True)


def _style_of(output: Path | None) -> str:
    if output is None:
        return "table"
    if (ending := output.suffix.lower().lstrip(".")) in {"csv", "parquet", "json"}:
        return ending
    raise InvalidRequest(
        f"{output}: a file ends in .csv, .parquet or .json; else say its --format"
    )


def _summary(result: "Result") -> str:
    from qserv.cli.output import counted, touched

    rows = counted(result.rows)
    lines = [f"{rows} in {result.seconds:.3f} s, {touched(result)}"]
    lines += [f"warning: {warning}" for warning in result.warnings]
    return "\n".join(lines)
