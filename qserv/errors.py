"""Every error that qserv raises, in one tree.

::

    QservError
    ├── UserError              the request is at fault; never retried
    │   ├── ParseError         the text is not the language it claims to be
    │   ├── UnknownName        no such table, column, function, release …
    │   ├── TypeMismatch       a function or operator is given what it cannot take
    │   ├── UnsupportedQuery   legitimate, and not answered yet
    │   ├── InvalidValue       a value overflowed or could not be converted
    │   ├── LimitExceeded      more rows, bytes or time than allowed
    │   │   └── TooManyQueries as many queries run and wait as may
    │   ├── BadContribution    a file to load has a bad row, column or schema
    │   ├── Conflict           it exists already, or another load holds it
    │   │   └── Superseded     another loader goes on with this load
    │   └── InvalidRequest     a setting or an argument makes no sense
    ├── ClusterError           the cluster is at fault; another replica may answer
    │   ├── CzarUnavailable    no czar answers at that address
    │   ├── WorkerUnavailable  a worker died, hangs or cannot be reached
    │   ├── ChunkMissing       no live worker holds these chunks at this snapshot
    │   ├── CorruptData        bytes do not match their checksum
    │   ├── TaskFailed         a worker could not finish for a reason of its own
    │   │   └── ExecutorDied   the process that ran DuckDB died; there is a new one soon
    │   ├── MetadataUnavailable the database with the metadata does not answer
    │   │   └── MetadataDamaged it answers, and what it holds cannot be read
    │   ├── MetadataBehind      workers remember newer metadata than the czar's
    │   ├── CzarReplaced       another czar has taken this one's place
    │   ├── SpoolLost          a worker no longer has the rows that it kept for a query
    │   └── DiskFull           a worker's disk has no room for a file
    ├── Cancelled              somebody asked to stop
    ├── DeadlineExceeded       the time that the caller gave has passed
    └── InternalError          a bug in qserv, told as "[BUG] …"

An error has a ``code`` that stays for ever, says who is at fault and whether a retry
may help, and crosses the wire as ``(code, text)``: :func:`from_wire` raises the same
class on the far side.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import ClassVar, Final


class Fault(StrEnum):
    """Who has to act on an error."""

    USER = "user"
    CLUSTER = "cluster"
    NOBODY = "nobody"
    QSERV = "qserv"


class QservError(Exception):
    """Base of all errors that qserv raises on purpose.

    Parameters
    ----------
    text
        What happened, where, and what to do about it.
    """

    code: ClassVar[str] = "Q0000"
    fault: ClassVar[Fault] = Fault.QSERV
    retry: ClassVar[bool] = False

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class UserError(QservError):
    """The request is at fault; retrying it unchanged cannot help."""

    code = "Q3000"
    fault = Fault.USER


class ParseError(UserError):
    """The text is not a query of the language; says line and column."""

    code = "Q3001"


class UnknownName(UserError):
    """A name is not in the catalog; says which names come close."""

    code = "Q3002"


class TypeMismatch(UserError):
    """A function or operator is given a type or a number of arguments it lacks."""

    code = "Q3003"


class UnsupportedQuery(UserError):
    """The query is legitimate, but qserv cannot answer it exactly yet."""

    code = "Q3004"


class InvalidValue(UserError):
    """A value overflowed its type or could not be converted."""

    code = "Q3005"


class LimitExceeded(UserError):
    """The query asks for more than a limit allows; names limit and remedy."""

    code = "Q3006"


class TooManyQueries(LimitExceeded):
    """As many queries run and wait as may; says how many, and to ask again."""

    code = "Q3010"
    fault = Fault.CLUSTER
    retry = True


class BadContribution(UserError):
    """A file cannot be loaded; names file, row (1-based) and column."""

    code = "Q3007"


class Conflict(UserError):
    """What was to be made exists already, or something else holds it."""

    code = "Q3008"


class Superseded(Conflict):
    """Another loader took this load over: this one has to stop, and not to abort it."""

    code = "Q3021"


class InvalidRequest(UserError):
    """A setting or an argument makes no sense; says which and what would."""

    code = "Q3009"


class ClusterError(QservError):
    """The cluster is at fault; the same request may succeed later or elsewhere.

    Parameters
    ----------
    text
        What happened, where, and what to do about it.
    chunks
        Of a worker that refuses: the chunks of its task that it cannot answer for, as
        far as it knows; it may answer for the others. None: for none of them.
    """

    code = "Q5000"
    fault = Fault.CLUSTER
    retry = True

    def __init__(self, text: str, chunks: Iterable[int] = ()) -> None:
        super().__init__(text)
        self.chunks = tuple(chunks)


class CzarUnavailable(ClusterError):
    """No czar answers at the address."""

    code = "Q5001"


class WorkerUnavailable(ClusterError):
    """A worker died, hangs or cannot be reached."""

    code = "Q5002"


class ChunkMissing(ClusterError):
    """No live worker holds a chunk at the snapshot that the query reads."""

    code = "Q5003"


class CorruptData(ClusterError):
    """Bytes on disk or on the wire do not match their checksum."""

    code = "Q5004"


class TaskFailed(ClusterError):
    """A worker could not finish its task for a reason of its own."""

    code = "Q5005"


class ExecutorDied(TaskFailed):
    """The process that ran DuckDB died; a new one is on its way."""

    code = "Q5008"


class MetadataUnavailable(ClusterError):
    """The database with the metadata does not answer; nothing was half written."""

    code = "Q5020"


class MetadataDamaged(MetadataUnavailable):
    """The database with the metadata cannot be read; restore or rebuild it."""

    code = "Q5022"
    retry = False


class MetadataBehind(ClusterError):
    """Workers remember newer metadata than the czar's: nothing is published on it."""

    code = "Q5023"


class CzarReplaced(ClusterError):
    """A newer czar has taken over the metadata: this one may not write any more."""

    code = "Q5021"


class SpoolLost(ClusterError):
    """A worker no longer has the rows that it kept for a later stage of a query.

    Parameters
    ----------
    text
        Names the stage and the worker.
    worker_id
        The worker, so that the czar can have its share made again.
    """

    code = "Q5006"

    def __init__(self, text: str, worker_id: str = "") -> None:
        super().__init__(text)
        self.worker_id = worker_id


class DiskFull(ClusterError):
    """A worker's disk has no room for a file; says how much is wanted and free."""

    code = "Q5007"


class Cancelled(QservError):
    """Somebody asked for the work to stop."""

    code = "Q4001"
    fault = Fault.NOBODY


class DeadlineExceeded(QservError):
    """The time that the caller gave has passed."""

    code = "Q4002"
    fault = Fault.USER


class InternalError(QservError):
    """A bug in qserv: please report it with the query id."""

    code = "Q9001"

    def __init__(self, text: str) -> None:
        super().__init__(text if text.startswith("[BUG]") else f"[BUG] {text}")


def subclasses(root: type[QservError] = QservError) -> Iterator[type[QservError]]:
    """Walk the tree of errors from `root` down, `root` included."""
    yield root
    for child in root.__subclasses__():
        yield from subclasses(child)


_BY_CODE: Final = {error.code: error for error in subclasses()}
assert len(_BY_CODE) == len(list(subclasses())), "two errors share a code"


def from_wire(code: str, text: str) -> QservError:
    """Make the error again that the far side raised.

    Parameters
    ----------
    code
        The ``code`` of the class raised on the far side.
    text
        Its text.

    Returns
    -------
    QservError
        An instance of the same class; `InternalError` for a code unknown here.
    """
    error = _BY_CODE.get(code)
    return error(text) if error else InternalError(f"unknown error {code}: {text}")
