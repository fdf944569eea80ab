"""A connection to one czar: queries, their plans, status, views, loads."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typing_extensions import override

from qserv.catalog.tables import Table
from qserv.client.address import endpoint_of
from qserv.client.checking import Checks
from qserv.client.loads import Loads
from qserv.client.placing import Placements
from qserv.client.result import Progress, Result
from qserv.client.status import Status, status_of
from qserv.client.tableworks import TableWorks
from qserv.errors import InvalidRequest, UnsupportedQuery
from qserv.wire.channel import sync_channel
from qserv.wire.errors import from_rpc
from qserv.wire.messages import value_to_proto
from qserv.wire.v1 import czar_pb2 as pb
from qserv.wire.v1.czar_pb2_grpc import CzarStub

if TYPE_CHECKING:
    from qserv.client.loading import Files, LoadProgress, LoadReport

CONNECT_TIMEOUT: Final = 10.0
"""Seconds in which a czar has to say that it is there."""

Parameter = str | int | float | bool
_Reply = TypeVar("_Reply")


def connect(address: str, token: str | None = None) -> "Connection":
    """Connect to a czar and see that it answers.

    Parameters
    ----------
    address
        ``"host:port"`` or ``"qserv://host:port"``; without a port 7480.
    token
        Reserved for clusters that ask who you are; this version has none.

    Returns
    -------
    Connection
        To be closed, or used as a context manager.

    Raises
    ------
    InvalidRequest
        If the address makes no sense.
    CzarUnavailable
        If no czar answers there.
    """
    if token is not None:
        raise UnsupportedQuery(
            "this version of qserv has no authentication and would send the token "
            "unprotected; leave it out"
        )
    return Connection(endpoint_of(address))


class Connection(TableWorks):
    """A connection to one czar; may be shared by threads.

    Parameters
    ----------
    endpoint
        ``host:port`` of the czar.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._closed = False
        self._channel = sync_channel(endpoint)
        self._czar = CzarStub(self._channel)
        try:
            self._greet()
        except BaseException:
            self._channel.close()
            raise

    def _greet(self) -> None:
        health = health_pb2_grpc.HealthStub(self._channel)
        self._call(health.Check, health_pb2.HealthCheckRequest(), CONNECT_TIMEOUT)

    @override
    def _call(
        self,
        method: Callable[..., _Reply],
        request: object,
        timeout: float | None = None,
    ) -> _Reply:
        self._need_open()
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise from_rpc(error, self.endpoint, czar=True) from None

    @override
    def _need_open(self) -> None:
        if self._closed:
            raise InvalidRequest(
                f"the connection to {self.endpoint} is closed; make a new one"
            )

    def query(
        self,
        sql: str,
        parameters: Sequence[Parameter] | None = None,
        *,
        snapshot: int | None = None,
        release: str = "",
        max_rows: int | None = None,
        batch_chunks: int = 0,
        timeout: float | None = None,
        query_id: str = "",
        progress: Callable[[Progress], None] | None = None,
    ) -> Result:
        """Run a query; its rows arrive while they are read.

        Parameters
        ----------
        sql
            The query, in ADQL 2.1.
        parameters
            Values for the placeholders of the text, in order.
        snapshot
            Id of the snapshot to read; None reads the newest.
        release
            Where tables without a schema are looked up.
        max_rows
            Rows after which the answer is cut, which a warning then says.
        batch_chunks
            Chunks that a worker reads in one go at most; 0 lets it decide.
        timeout
            Seconds after which the query is cancelled.
        query_id
            A name for `cancel`; empty lets the czar make one.
        progress
            Called with how far the query is, while rows are read.

        Returns
        -------
        Result
            Its columns are known; its rows are on their way.

        Raises
        ------
        UserError
            If the query cannot be answered as it is, or the connection is closed.
        ClusterError
            If the cluster cannot answer it now.
        DeadlineExceeded
            If it took longer than `timeout`.
        """
        self._need_open()
        if max_rows is not None and max_rows < 0:
            raise InvalidRequest(f"max_rows is 0 or more, not {max_rows}")
        if timeout is not None and not timeout > 0:
            raise InvalidRequest(f"timeout is more than 0 seconds, not {timeout}")
        request = pb.QueryRequest(
            text=sql,
            parameters=[value_to_proto(value) for value in parameters or ()],
            snapshot=snapshot,
            default_release=release,
            max_rows=max_rows,
            batch_chunks=batch_chunks,
            query_id=query_id,
        )
        call = self._czar.Query(request, timeout=timeout)
        return Result(call, peer=self.endpoint, progress=progress)

    def explain(
        self,
        sql: str,
        *,
        analyze: bool = False,
        snapshot: int | None = None,
        release: str = "",
        timeout: float | None = None,
    ) -> str:
        """Return the plan of a query as text.

        Parameters
        ----------
        sql
            The query.
        analyze
            Run the query, drop its rows, and say what happened beside what was
            expected; without it nothing runs.
        snapshot
            Id of the snapshot to read; None reads the newest.
        release
            Where tables without a schema are looked up.
        timeout
            Seconds after which the query is cancelled.
        """
        query = pb.QueryRequest(text=sql, snapshot=snapshot, default_release=release)
        request = pb.ExplainRequest(query=query, analyze=analyze)
        return self._call(self._czar.Explain, request, timeout).text

    def cancel(self, query_id: str) -> bool:
        """Stop a running query; False if this czar runs none of that id."""
        return self._call(self._czar.Cancel, pb.CancelRequest(query_id=query_id)).found

    def status(self) -> Status:
        """Return workers, releases, tables and running queries of the cluster."""
        return status_of(self._call(self._czar.Status, pb.StatusRequest()))

    @property
    def placement(self) -> Placements:
        """Which workers hold what, and who shall."""
        return Placements(self._call, self._czar)

    @property
    def checks(self) -> Checks:
        """Whether everything is as it should be: `examine` and `scrub`."""
        return Checks(self._call, self._czar, self.endpoint)

    @property
    def loads(self) -> Loads:
        """Loads under way and their history: call it, or `show` or `abort` one."""
        return Loads(self._call, self._czar, self.endpoint)

    def load(
        self,
        release: str,
        inputs: "Mapping[str, Files]",
        *,
        schema: str | Path | Sequence[Table] | None = None,
        sidecar: str | Path | None = None,
        reading: "Mapping[str, Any] | None" = None,
        progress: "Callable[[LoadProgress], None] | None" = None,
        **settings: Any,
    ) -> "LoadReport":
        """Load files into a release: visible whole at the end, or not at all.

        Parameters
        ----------
        release
            Its name, the schema in SQL; made if it does not exist.
        inputs
            Table name to files: a path, a directory, a wildcard, a URI, or several of
            them.
        schema
            Felis YAML with the tables' columns, or the tables themselves; without it
            the columns are those of the files.
        sidecar
            YAML with each table's kind, key and position; by default the file beside
            a schema ``NAME.yaml`` that is called ``NAME.sidecar.yaml``.
        reading
            How files are read that do not say it, as
            `qserv.ingest.inputs.ReadOptions` names it: ``format``, ``delimiter``,
            ``header``, ``nulls`` …; goes before what the sidecar says.
        progress
            Called as the load gets on.
        **settings
            As `qserv.ingest.loader.Settings` names them: ``family``, ``replicas``,
            ``overlap`` (degrees), ``leaf_rows``, ``leaf_bytes``, ``who``, ``pipeline``,
            ``configuration``, ``input_ids``, ``max_rejects``, ``rejects``, ``dry_run``,
            ``replace`` (what the tables have goes), ``replace_files`` (what files of
            these names brought before goes), ``processes``, ``dask``, ``scratch``.

        Returns
        -------
        LoadReport
            Rows and files by table, and the snapshot that shows them.

        Raises
        ------
        BadContribution
            If a file has a bad row or column; nothing was loaded.
        Conflict
            If rows exist already or another load holds the release.
        """
        from qserv.client.loading import chosen, load

        self._need_open()
        return load(
            self.endpoint,
            release,
            inputs,
            schema=schema,
            sidecar=sidecar,
            known=lambda: self.tables(release).tables,
            reading=reading or {},
            progress=progress,
            settings=chosen(settings),
        )

    def close(self) -> None:
        """Close the connection; results that are still open end with `Cancelled`."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @override
    def __repr__(self) -> str:
        return f"Connection({self.endpoint!r})"
