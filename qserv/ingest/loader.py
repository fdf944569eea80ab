"""Loads files into a release: all of them, visible at once, or nothing.

The loader reads, checks and partitions in its own process; the czar only says who
holds what and keeps the transaction; rows go straight to the workers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from qserv.catalog.tables import Table, TableKind
from qserv.errors import InvalidRequest, QservError
from qserv.ingest import files
from qserv.ingest.job import Job
from qserv.ingest.peers import Channels, Czar
from qserv.ingest.progress import LoadProgress, LoadReport, Meter
from qserv.wire.messages import table_to_proto
from qserv.wire.v1 import czar_pb2 as pb

__all__ = ["LoadProgress", "LoadReport", "load"]


def load(
    czar: str,
    release: str,
    inputs: Mapping[str, Sequence[str | Path]],
    *,
    tables: Sequence[Table] | None,
    family: str | None = None,
    replicas: int | None = None,
    overlap: float | None = None,
    leaf_rows: int | None = None,
    leaf_bytes: int | None = None,
    who: str = "",
    pipeline: str = "",
    progress: Callable[[LoadProgress], None] | None = None,
) -> LoadReport:
    """Load files.

    Parameters
    ----------
    czar
        ``host:port`` of a czar.
    release
        The release to load into; it is made where there is none.
    inputs
        Table name -> Parquet and CSV files, directories or wildcards.
    tables
        What the tables are; may name more than `inputs` does.
        `qserv.ingest.schema.tables_of` reads or infers them.
    family
        Family of a new release; by default named like it.
    replicas
        Copies of each chunk; None leaves it to the czar.
    overlap, leaf_rows, leaf_bytes
        Overlap radius (degrees) and leaf limits of a new family.
    who, pipeline
        For the history: who loads, and name and version of what made the files.
    progress
        Told how far the load has come.

    Returns
    -------
    LoadReport
        What was loaded.

    Raises
    ------
    BadContribution
        If a file or a row cannot be loaded; names file, row and column. Nothing was
        loaded then, as after any other error.
    Conflict
        If the release cannot take these tables.
    ClusterError
        If czar or workers fail.
    """
    meter = Meter(progress)
    wanted = _wanted(tables, inputs)
    paths = {
        table.name.lower(): files.find(table.name, found) for table, found in wanted
    }
    request = pb.BeginRequest(
        release=release,
        tables=[table_to_proto(table) for table in _definitions(wanted, tables or ())],
        family=family or "",
        replicas=replicas or 0,
        overlap=overlap,
        leaf_rows=leaf_rows,
        leaf_bytes=leaf_bytes,
        who=who,
        pipeline=pipeline,
    )
    with Channels() as channels, _begun(Czar(czar, channels), request) as (told, reply):
        job = Job(begun=reply, czar=told, channels=channels, meter=meter)
        return job.run(paths)


def _wanted(
    tables: Sequence[Table] | None, inputs: Mapping[str, Sequence[str | Path]]
) -> list[tuple[Table, Sequence[str | Path]]]:
    """Return the tables with files, directors first."""
    if tables is None:
        raise InvalidRequest(
            "nothing says what the tables are: give a schema, or a sidecar whose "
            "columns are then inferred from the files"
        )
    by_name = {table.name.lower(): table for table in tables}
    _check_names(by_name, list(inputs))
    wanted = [(by_name[name.lower()], found) for name, found in inputs.items()]
    return sorted(wanted, key=lambda item: item[0].kind is not TableKind.DIRECTOR)


def _check_names(tables: Mapping[str, Table], names: Sequence[str]) -> None:
    if unknown := [name for name in names if name.lower() not in tables]:
        raise InvalidRequest(
            f"there is no table {', '.join(unknown)} in the schema, which has "
            f"{', '.join(table.name for table in tables.values())}"
        )
    if len({name.lower() for name in names}) < max(len(names), 1):
        raise InvalidRequest(
            "a load names at least one table, and each once, whatever its case: "
            f"TABLE=FILES, not {', '.join(names) or 'nothing'}"
        )


def _definitions(
    wanted: Sequence[tuple[Table, object]], tables: Sequence[Table]
) -> list[Table]:
    """Return the tables to load and the directors that they name."""
    chosen = {table.name.lower() for table, _ in wanted}
    chosen |= {director.lower() for table, _ in wanted for _, director in table.links}
    return [table for table in tables if table.name.lower() in chosen]


@contextmanager
def _begun(
    czar: Czar, request: pb.BeginRequest
) -> Iterator[tuple[Czar, pb.BeginReply]]:
    """Begin a load; abort it if anything goes wrong, also if the user interrupts."""
    reply = czar.begin(request)
    try:
        yield czar, reply
    except BaseException as error:
        try:
            czar.abort(
                pb.AbortRequest(transaction=reply.transaction, reason=str(error)[:1000])
            )
        except QservError as failure:
            error.add_note(f"the load could not be aborted either: {failure}")
        raise
