"""Settings of the programs: read once in `qserv.cli`, passed down as plain values.

A setting comes from the command line, else from the environment (``QSERV_PORT``), else
from a TOML file (``port = 7480``), else from the default here. This is the only module
that reads the environment.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from qserv import failpoint
from qserv.errors import InvalidRequest

__all__ = [
    "CzarConfig",
    "LoadConfig",
    "LogFormat",
    "LogLevel",
    "WorkerConfig",
    "load",
]

PREFIX: Final = "QSERV_"
MIB: Final = 2**20

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["console", "json"]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


def _split(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


def _failpoint(value: str) -> str:
    failpoint.parse(value)
    return value


Failpoint = Annotated[str, AfterValidator(_failpoint)]


class _Settings(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    failpoint: Failpoint = ""
    """For tests: where the process kills itself or meets a broken disk, such as
    `worker.stage.synced:3=enospc`; the names stand in `qserv.failpoint`."""


class _Config(_Settings):
    directory: Path = Path("qserv-data")
    """Where the process keeps everything that it must not lose."""
    host: str = "127.0.0.1"
    """Address to listen on; other than loopback only with `allow_remote`."""
    allow_remote: bool = False
    """Listen on an address that other machines reach. There is neither encryption nor
    authentication: only inside a network that you trust."""
    log_level: LogLevel = "info"
    """The least severe log lines to write."""
    log_format: LogFormat = "console"
    """Log lines for people (console) or for machines (json)."""


class CzarConfig(_Config):
    """Settings of a czar."""

    port: Port = 7480
    """Port to listen on; 0 takes any free one."""
    replicas: Annotated[int, Field(ge=1)] | None = None
    """How many workers hold each chunk of a family whose first load does not say
    otherwise; unset: 2 where two or more workers are alive then, else 1."""
    repair_bytes_per_second: ByteSize = ByteSize(50 * MIB)
    """Bytes a second that a worker may copy from others at most; 0: as fast as it
    goes."""
    repair_workers: Annotated[int, Field(ge=1)] = 4
    """Workers that copy from others at a time."""
    repair_interval: Seconds = 30.0
    """Seconds after which copies are compared with what is wanted though nothing is
    known to have changed, and after which what failed is tried again."""
    metadata: str = ""
    """Where the metadata is: `sqlite` for a file in `directory`, or
    `postgresql://user@host/database`; unset: where it was, at first `sqlite`."""
    join_interval: Seconds = 1.0
    """Seconds between two signs of life that a worker gives."""
    dead_after: Seconds = 4.0
    """Seconds of silence after which a worker counts as dead."""
    load_lease: Seconds = 30.0
    """Seconds of a loader's silence after which another may go on in its place, or one
    whose way it is in may begin."""
    load_expiry: Seconds = 86400.0
    """Seconds of a loader's silence after which its load is given up though nobody
    waits for it: what workers took of it goes."""
    query_timeout: Seconds = 3600.0
    """Seconds after which a query is stopped, waiting included."""
    max_rows: Annotated[int, Field(ge=0)] | None = None
    """Rows after which a result is cut and says so; unset: never."""
    max_result_bytes: ByteSize = ByteSize(100 * 1024 * MIB)
    """Bytes after which a result ends with an error."""
    max_interactive_queries: Annotated[int, Field(ge=1)] = 64
    """Queries of a few chunks that run at a time; more wait for their turn."""
    max_scan_queries: Annotated[int, Field(ge=1)] = 16
    """Queries of all chunks that run at a time; more wait for their turn."""
    max_waiting_queries: Annotated[int, Field(ge=0)] = 256
    """Queries of each kind that may wait; more are refused, and may be asked again."""
    max_estimated_rows: Annotated[float, Field(gt=0)] | None = 1e10
    """Rows that a join may be expected to make: a larger cartesian product is refused
    before it runs."""
    max_estimated_bytes: ByteSize | None = None
    """Bytes of files that a query may be expected to read; unset: any."""
    max_estimated_seconds: Seconds | None = None
    """Seconds that a query may be expected to take; unset: any."""
    merge_threads: Annotated[int, Field(ge=1)] = 2
    """DuckDB threads of a merge."""
    merge_memory: ByteSize = ByteSize(1024 * MIB)
    """Bytes that a merge may hold before it spills to disk."""
    merge_spill: ByteSize = ByteSize(20 * 1024 * MIB)
    """Bytes on disk that a merge may take; up to four run at a time."""
    broadcast_memory: Annotated[ByteSize, Field(le=192 * MIB)] = ByteSize(64 * MIB)
    """Bytes of an intermediate result that may go to every worker with its tasks."""

    @model_validator(mode="after")
    def _patience(self) -> Self:
        if self.dead_after <= self.join_interval:
            raise ValueError("dead_after must be longer than join_interval")
        return self


class WorkerConfig(_Config):
    """Settings of a worker."""

    port: Port = 7481
    """Port to listen on; 0 takes any free one."""
    czars: Annotated[tuple[str, ...], BeforeValidator(_split)] = ("127.0.0.1:7480",)
    """Addresses (host:port) of the czars to join; in the environment with commas."""
    executors: Annotated[int, Field(ge=1)] = 1
    """Processes that run DuckDB."""
    threads: Annotated[int, Field(ge=1)] = 1
    """DuckDB threads of an executor."""
    memory: ByteSize = ByteSize(1024 * MIB)
    """Bytes that an executor may use before it spills to disk."""
    spill_bytes: ByteSize = ByteSize(20 * 1024 * MIB)
    """Bytes on disk that an executor may take for what its memory does not hold."""
    batch_bytes: ByteSize = ByteSize(256 * MIB)
    """Bytes to read that chunks of one batch have together at most."""
    batch_chunks: Annotated[int, Field(ge=1)] = 64
    """Chunks of one batch at most."""
    disk_reserve: ByteSize | None = None
    """Bytes of the disk that files of loads and copies leave free; unset: 2 GiB, or a
    twentieth of a disk below 40 GiB."""
    spool_bytes: ByteSize = ByteSize(20 * 1024 * MIB)
    """Bytes on disk that rows exchanged between workers may take at a time."""
    verify_age: Seconds = 7 * 86400.0
    """Seconds after which a file's checksum is compared again in the background; a file
    that was not compared for twice as long is compared before it is used."""
    scrub_bytes_per_second: Annotated[ByteSize, Field(ge=0)] = ByteSize(20 * MIB)
    """Bytes read for that in a second at most; 0: nothing in the background."""


class LoadConfig(_Settings):
    """Settings of a program that loads files."""


C = TypeVar("C", bound=_Settings)


def load(model: type[C], path: Path | None = None, **overrides: Any) -> C:
    """Gather the settings of one program.

    Parameters
    ----------
    model
        Which program's settings.
    path
        TOML file with the same keys as the model; None reads no file.
    **overrides
        What the command line gave; None means that it did not.

    Returns
    -------
    CzarConfig, WorkerConfig or LoadConfig
        Frozen settings.

    Raises
    ------
    InvalidRequest
        If a key is unknown or a value makes no sense; names its source and key.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    layers = {f"file {path}": _file(path), "the environment": _environment(model)}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in (layers | {"the command line": given}).items():
        values |= layer
        origins |= dict.fromkeys(layer, origin)
    try:
        return model(**values)
    except ValidationError as error:
        raise InvalidRequest(_explain(error, origins)) from None


def _file(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRequest(
            f"cannot read configuration file {path}: {error.strerror}"
        ) from error
    except ValueError as error:
        raise InvalidRequest(
            f"configuration file {path} is not TOML: {error}"
        ) from error


def _environment(model: type[_Settings]) -> Mapping[str, str]:
    return {
        name: os.environ[PREFIX + name.upper()]
        for name in model.model_fields
        if PREFIX + name.upper() in os.environ
    }


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines = []
    for problem in error.errors():
        key = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "extra_forbidden":
            text = "there is no such setting"
        else:
            text = (
                f"{problem['msg']}, not {problem['input']!r}" if key else problem["msg"]
            )
        origin = f" in {origins[key]}" if key in origins else ""
        lines.append(f"setting {key}{origin}: {text}" if key else text)
    return "; ".join(lines)
