"""Loads files into a release: all of them, visible at once, or nothing.

The loader reads, checks and partitions in its own processes; the czar only says who
holds what and keeps the transaction; rows go straight to the workers. A load that was
stopped is gone on with by the same command.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from qserv import failpoint
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
from qserv.wire.messages import table_to_proto
from qserv.wire.v1 import czar_pb2 as pb

__all__ = ["LoadProgress", "LoadReport", "Settings", "load"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a load is done.

    Parameters
    ----------
    family
        Family of a new release; by default named like it.
    replicas
        Copies of each chunk; None leaves it to the czar.
    overlap, leaf_rows, leaf_bytes
        Overlap radius (degrees) and leaf limits of a new family.
    who, pipeline, configuration, input_ids
        For the history: who loads, name and version of what made the files, the hash
        of its configuration, and what it read.
    max_rejects
        Rows that may be left out; one more, and nothing is loaded.
    rejects
        A file that tells them; None: none.
    dry_run
        Do all but send and commit.
    replace
        The tables that files are for are replaced: what they have goes by then.
    processes
        That read and partition; None: as many as there are cores, 0: none but this.
    dask
        Address of a Dask scheduler whose workers do it instead.
    scratch
        A directory for what is under way, which all processes see; None: the system's
        for temporary files.
    """

    family: str | None = None
    replicas: int | None = None
    overlap: float | None = None
    leaf_rows: int | None = None
    leaf_bytes: int | None = None
    who: str = ""
    pipeline: str = ""
    configuration: str = ""
    input_ids: tuple[str, ...] = ()
    max_rejects: int = 0
    rejects: Path | None = None
    dry_run: bool = False
    replace: bool = False
    processes: int | None = None
    dask: str | None = None
    scratch: Path | None = None


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
        request = _request(release, definitions, known, settings)
        return _Loader(
            czar=Czar(czar),
            request=request,
            inputs=known,
            settings=settings,
            pool=pool,
            meter=meter,
        ).run()


class _Loader:
    def __init__(
        self,
        *,
        czar: Czar,
        request: pb.BeginRequest,
        inputs: Sequence[Input],
        settings: Settings,
        pool: Executor,
        meter: Meter,
    ) -> None:
        self._czar = czar
        self._request = request
        self._inputs = inputs
        self._settings = settings
        self._pool = pool
        self._meter = meter

    def run(self) -> LoadReport:
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
        waited = 0.0
        begun = self._czar.begin(self._request)
        while begun.wait:
            if waited > 2 * begun.lease:
                raise Conflict(
                    f"release {self._request.release} is being loaded with the same "
                    "files by another process right now: wait for it"
                )
            self._meter.enter(Phase.WAITING)
            time.sleep(begun.wait)
            waited += begun.wait
            begun = self._czar.begin_again(self._request)
        return begun

    def _work(self, begun: pb.BeginReply, czar: Czar | None) -> LoadReport:
        rejects = Rejects(
            [Named(given.table, given.source) for given in self._request.inputs],
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


def _request(
    release: str,
    definitions: Sequence[Table],
    inputs: Sequence[Input],
    settings: Settings,
) -> pb.BeginRequest:
    spelled = {table.name.lower(): table.name for table in definitions}
    filled = dict.fromkeys(spelled[each.table] for each in inputs)
    request = pb.BeginRequest(
        release=release,
        tables=[table_to_proto(table) for table in definitions],
        family=settings.family or "",
        replicas=settings.replicas or 0,
        overlap=settings.overlap,
        leaf_rows=settings.leaf_rows,
        leaf_bytes=settings.leaf_bytes,
        who=settings.who,
        pipeline=settings.pipeline,
        configuration=settings.configuration,
        input_ids=settings.input_ids,
        inputs=[
            pb.InputFile(
                table=spelled[each.table],
                source=each.file.name,
                sha256=each.sha256,
                size=each.file.size,
            )
            for each in inputs
        ],
        replaces=[pb.Replacement(table=name) for name in filled if settings.replace],
    )
    request.fingerprint = _fingerprint(request, inputs, settings)
    request.dry_run = settings.dry_run
    return request


def _fingerprint(
    request: pb.BeginRequest, inputs: Sequence[Input], settings: Settings
) -> str:
    """Return a hash of all that decides what a load makes."""
    digest = hashlib.sha256(request.SerializeToString(deterministic=True))
    for more in (
        version("qserv"),
        version("pyarrow"),
        *(repr(each.options) for each in inputs),
        str(settings.max_rejects),
    ):
        digest.update(b"\0" + more.encode())
    return digest.hexdigest()


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
            error.add_note(f"the load could not be aborted either: {failure}")
        raise
