"""A backup of the metadata: one file that either database can be made of again.

It is a ZIP archive with a checkpoint (``checkpoint.json``) and its parts, each a list
of JSON lines named by its sha256.
"""

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from qserv import failpoint, sqltext
from qserv.catalog.backends import WRITES, Backend
from qserv.catalog.checkpoint import Checkpoint, PartName, decode
from qserv.catalog.checkpointrows import fill, take
from qserv.catalog.database import formats, reflected, told
from qserv.errors import Conflict, CorruptData, InvalidRequest

Seen = Callable[[PartName], None]

_INDEX: Final = "checkpoint.json"
_DAMAGES: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What Python raises of a ZIP archive with a wrong bit."""
_OF_NOTE: Final = ("catalog_release", "worker")


def backup(source: Backend, path: Path, *, seen: Seen = lambda _: None) -> Checkpoint:
    """Write all metadata to a file, as it is at this moment; a czar may be running.

    Parameters
    ----------
    source
        Where the metadata is.
    path
        The file; it is whole or not there at all.
    seen
        Is told each part that is done.

    Raises
    ------
    InvalidRequest
        If there is no metadata, or the file cannot be written.
    MetadataUnavailable
        If the database does not answer.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        with told(source), source.engine.connect() as plain:
            connection = plain.execution_options(**source.reads)
            with connection.begin():
                made = _write(connection, str(source), fresh, seen)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        failpoint.reached("metadata.backup.written")
        fresh.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise InvalidRequest(f"cannot write {path}: {error.strerror}") from error
    finally:
        fresh.unlink(missing_ok=True)
    return made


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(connection: sa.Connection, where: str, path: Path, seen: Seen) -> Checkpoint:
    if not formats(connection):
        raise InvalidRequest(f"there is no metadata in {where}")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        written: set[str] = set()

        def keep(part: PartName, text: bytes) -> None:
            if part.sha256 not in written:
                archive.writestr(part.sha256, text)
                written.add(part.sha256)
            seen(part)

        made = take(connection, reflected(connection), keep)
        archive.writestr(_INDEX, made.encode())
    return made


@contextmanager
def opened(path: Path) -> Iterator[tuple[Checkpoint, Callable[[str], bytes]]]:
    """Give the checkpoint of a backup, and what reads its parts.

    Raises
    ------
    InvalidRequest
        If the file cannot be read or is no backup.
    CorruptData
        If it is damaged.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror}") from error
    except (OSError, *_DAMAGES) as error:
        raise CorruptData(f"{path} is damaged, or no backup: {error}") from error
    with archive:
        if _INDEX not in archive.namelist():
            raise InvalidRequest(f"{path} is no backup of metadata")

        def read(name: str) -> bytes:
            try:
                return archive.read(name)
            except (OSError, KeyError, *_DAMAGES) as error:
                raise CorruptData(f"{path} is damaged: {error}") from error

        yield decode(read(_INDEX), str(path)), read


def restore(
    path: Path, target: Backend, *, force: bool = False, seen: Seen = lambda _: None
) -> Checkpoint:
    """Make metadata of a backup; what was there stays if anything fails.

    Parameters
    ----------
    path
        The backup.
    target
        Where to; no czar may be running on it.
    force
        Whether to replace metadata that is there.
    seen
        Is told each part that is done.

    Raises
    ------
    Conflict
        If a czar owns the target, or metadata is there and is not to be replaced.
    InvalidRequest
        If the file is no backup, or of a newer qserv.
    CorruptData
        If it is damaged.
    MetadataUnavailable
        If the database does not answer.
    """
    with opened(path) as (checkpoint, read), emptied(target, force=force) as connection:
        fill(connection, checkpoint, read, sqltext.migrations(), seen=seen)
        failpoint.reached("metadata.restore.written")
    return checkpoint


@contextmanager
def emptied(target: Backend, *, force: bool) -> Iterator[sa.Connection]:
    """Give a transaction in a database without tables; a failure brings them back.

    Parameters
    ----------
    target
        Is owned meanwhile.
    force
        Whether metadata may be there.

    Raises
    ------
    Conflict
        If a czar owns it, or metadata is there and may not.
    MetadataUnavailable
        If the database does not answer.
    """
    with told(target):
        target.own()
        with target.engine.connect() as plain:
            connection = plain.execution_options(**WRITES)
            with connection.begin():
                if not force and (there := _of_note(connection)):
                    raise Conflict(
                        f"{target} holds metadata already ({there}): back it up if you "
                        "may want it again, then replace it with --force"
                    )
                for table in reversed(reflected(connection).values()):
                    table.drop(connection)
                yield connection


def _of_note(connection: sa.Connection) -> str:
    tables = reflected(connection)
    counts = []
    for name in _OF_NOTE:
        if name in tables:
            rows = sa.select(sa.func.count()).select_from(tables[name])
            counts.append((connection.execute(rows).scalar_one(), name))
    said = (f"{count} {name.removeprefix('catalog_')}s" for count, name in counts)
    return ", ".join(said) if any(count for count, _ in counts) else ""
