"""Loads files into a release: all of them, visible at once, or nothing.

The loader reads, checks and partitions in its own processes; the czar only says who
holds what and keeps the transaction; rows go straight to the workers. A load that was
stopped is gone on with by the same command.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from qserv import failpoint, patience
from qserv.catalog.tables import Table, TableKind
from qserv.errors import ClusterError, Conflict, InvalidRequest, QservError
from qserv.ingest import inputs as files
from qserv.ingest.bulk.execution import executor, finished
from qserv.ingest.bulk.workshop import scratch_of, sweep
from qserv.ingest.gathering import Input
from qserv.ingest.inputs import DEFAULTS, InputFile, ReadOptions
from qserv.ingest.job import Job
from qserv.ingest.keeping import kept
from qserv.ingest.peers import Czar
from qserv.ingest.progress import LoadProgress, LoadReport, Meter, Phase
from qserv.ingest.rejects import Named, Rejects
from qserv.ingest.request import request_of
from qserv.ingest.rework.asked import Rework, check_versions
from qserv.ingest.rework.selecting import replaced_by
from qserv.ingest.settings import Settings
from qserv.wire.v1 import czar_pb2 as pb

__all__ = ["LoadProgress", "LoadReport", "Loader", "Settings", "load"]


_SETTINGS: Final = Settings()


def load(
    czar: str,
    release: str,
    inputs: Mapping[str, Sequence[str | Path]],
    *,
    tables: Sequence[Table] | None,
    reading: Mapping[str, ReadOptions] | None = None,
    settings: Settings = _SETTINGS,
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
        Table name -> files, directories, wildcards or URIs.
    tables
        What the tables are; may name more than `inputs` does.
        `qserv.ingest.schema.tables_of` reads or infers them.
    reading
        Lower-case table name -> how its files are read, where they do not say it.
    settings
        How it is done.
    progress
        Told how far the load has come.

    Returns
    -------
    LoadReport
        What was loaded.

    Raises
    ------
    BadContribution
        If a file or too many rows cannot be loaded; names file, row and column.
        Nothing was loaded then, as after any other error.
    Conflict
        If the release cannot take these tables.
    ClusterError
        If czar or workers fail.
    """
    meter = Meter(progress)
    if settings.replace and settings.replace_files:
        raise InvalidRequest(
            "a load replaces whole tables (replace) or the rows of single files "
            "(replace_files), not both"
        )
    wanted = _wanted(tables, inputs)
    found = [
        (table.name, file, options)
        for table, patterns in wanted
        for options in [(reading or {}).get(table.name.lower(), DEFAULTS)]
        for file in files.find(table.name, patterns, options)
    ]
    size = sum(file.size for _, file, _ in found)
    with executor(size=size, processes=settings.processes, dask=settings.dask) as pool:
        known = _checked(found, pool, meter)
        definitions = _definitions(wanted, tables or ())
        there = Czar(czar)
        again = replaced_by(there, release, known) if settings.replace_files else ()
        return Loader(
            czar=there,
            request=request_of(release, definitions, known, again, settings),
            inputs=known,
            again=again,
            settings=settings,
            pool=pool,
            meter=meter,
        ).run()


class Loader:
    """One load, from its beginning to its end.

    Parameters
    ----------
    czar
        Who is told.
    request
        What it begins with.
    inputs
        The files that it reads.
    again
        The stored rows that it reads.
    settings, pool, meter
        How it is done, what runs its tasks, who hears how far it is.
    """

    def __init__(
        self,
        *,
        czar: Czar,
        request: pb.BeginRequest,
        inputs: Sequence[Input] = (),
        again: Sequence[Rework] = (),
        settings: Settings,
        pool: Executor,
        meter: Meter,
    ) -> None:
        self._czar = czar
        self._request = request
        self._inputs = inputs
        self._again = again
        self._settings = settings
        self._pool = pool
        self._meter = meter

    def run(self) -> LoadReport:
        """Load; raises as `load`."""
        begun = self._begin()
        # Loads that are over leave nothing on this machine, whoever was killed.
        sweep(self._settings.scratch, self._czar.ended)
        if begun.snapshot:
            return self._already(begun)
        failpoint.reached("loader.begin.begun")
        if self._settings.dry_run:
            return self._work(begun, None)
        with (
            kept(self._czar, begun, self._meter),
            _aborted_on_error(self._czar, begun),
        ):
            return self._work(begun, self._czar)

    def _begin(self) -> pb.BeginReply:
        """Begin the load, after waiting for an earlier try to be given up."""
        begun = self._czar.begin(self._request)
        if begun.wait:
            asking = patience.for_lease(self._waits)
            begun = asking(self._czar.begin_again, self._request)
        if begun.wait:
            raise Conflict(
                f"release {self._request.release} is being loaded with the same "
                "files by another process right now: wait for it"
            )
        return begun

    def _waits(self, told: patience.Waiting) -> None:
        self._meter.wait(
            "another process may still be at this load; it goes on here once that one "
            f"is silent for {told.lease:.0f} s"
        )

    def _work(self, begun: pb.BeginReply, czar: Czar | None) -> LoadReport:
        check_versions(self._again, begun)
        names = [Named(given.table, given.source) for given in self._request.inputs]
        rejects = Rejects(
            names + [each.named for each in self._again],
            # A dry run tells of all, however many.
            allowed=None if czar is None else self._settings.max_rejects,
            file=self._settings.rejects,
        )
        with scratch_of(begun.transaction, self._settings.scratch) as scratch:
            return Job(
                begun=begun,
                czar=czar,
                pool=self._pool,
                scratch=scratch,
                inputs=self._inputs,
                again=self._again,
                rejects=rejects,
                meter=self._meter,
            ).run()

    def _already(self, begun: pb.BeginReply) -> LoadReport:
        return LoadReport(
            release=begun.release,
            snapshot=begun.snapshot,
            rows={},
            files={},
            chunks=len(begun.tree),
            size=0,
            nulled=0,
            wrapped=0,
            seconds=self._meter.elapsed,
            already={
                each.file.name: known.snapshot
                for each, known in zip(self._inputs, begun.inputs, strict=True)
            },
            dry=self._settings.dry_run,
        )


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


def _checked(
    found: Sequence[tuple[str, InputFile, ReadOptions]], pool: Executor, meter: Meter
) -> list[Input]:
    """Take the fingerprints of all files."""
    meter.enter(Phase.CHECKING)
    names = {str(number): file for number, (_, file, _) in enumerate(found)}
    marks = {}
    for number, mark in finished(pool, files.fingerprint, names):
        marks[number] = mark
        meter.add(found[int(number)][0], 0, names[number].size)
    return [
        Input(table.lower(), file, marks[str(number)], options)
        for number, (table, file, options) in enumerate(found)
    ]


@contextmanager
def _aborted_on_error(czar: Czar, begun: pb.BeginReply) -> Iterator[None]:
    """Abort a load that cannot succeed, or that the user interrupts.

    One that the cluster is not able to take now stays open: what was done is kept.
    """
    try:
        yield
    except ClusterError as error:
        error.add_note(
            f"load {begun.transaction} is still open: the same command goes on where "
            f"it stopped, `qserv loads abort {begun.transaction}` gives it up"
        )
        raise
    except BaseException as error:
        try:
            czar.abort(
                pb.AbortRequest(
                    transaction=begun.transaction,
                    attempt=begun.attempt,
                    reason=str(error)[:1000],
                )
            )
        except QservError as failure:
            error.add_note(
                f"the load could not be aborted: {failure}; `qserv loads show "
                f"{begun.transaction}` tells what became of it"
            )
        raise
