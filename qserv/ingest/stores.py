"""Opens files on local disks and in stores such as S3, through `pyarrow.fs`."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.fs

from qserv.errors import BadContribution

_BUFFER: Final = 2**20


class Found(NamedTuple):
    """A file that there is.

    Parameters
    ----------
    uri
        Its path or URI.
    size
        Its bytes.
    modified
        When it was changed last, nanoseconds; None where its store does not tell.
    """

    uri: str
    size: int
    modified: int | None


def is_uri(text: str) -> bool:
    """Return whether a text is a URI and no path."""
    return "://" in text


def shown(uri: str) -> str:
    """Return a path or URI as people may see it: no credentials, no query."""
    if not is_uri(uri):
        return uri
    parts = _split(uri)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{unquote(parts.path)}"


def place(uri: str) -> tuple[str, str]:
    """Return the scheme of a URI, and its path as the store has it."""
    parts = _split(uri)
    return parts.scheme, unquote(parts.path)


def options(uri: str) -> tuple[str, str]:
    """Return what a URI says of its store: credentials and place, and the query."""
    parts = _split(uri)
    return parts.netloc, parts.query


@contextmanager
def named(name: str) -> Iterator[None]:
    """Tell of a failure to read as one of a file.

    Raises
    ------
    BadContribution
        If it could not be opened or read.
    """
    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise BadContribution(f"{name}: cannot be read: {plain(error)}") from error
    except MemoryError as error:
        # Arrow raises it for packed bytes that make no sense, too.
        raise BadContribution(
            f"{name}: cannot be read: it wants more memory than there is, or is spoilt"
        ) from error


def plain(error: Exception) -> str:
    """Return what went wrong in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def opened(uri: str) -> pa.NativeFile:
    """Open a file for reading anywhere in it.

    Raises
    ------
    OSError
        If it cannot be opened.
    """
    filesystem, path = _place(uri)
    return filesystem.open_input_file(path)


def look(uri: str) -> Found:
    """Look at a file.

    Raises
    ------
    OSError
        If there is none, or its store does not answer.
    """
    if not is_uri(uri):
        status = Path(uri).stat()
        return Found(uri, status.st_size, status.st_mtime_ns)
    filesystem, path = _place(uri)
    info = filesystem.get_file_info(path)
    if not info.is_file:
        raise FileNotFoundError(errno.ENOENT, "there is no such file", path)
    return Found(uri, info.size, info.mtime_ns)


def streamed(uri: str, compression: str | None) -> pa.NativeFile:
    """Open a file for reading from its start, unpacked.

    Parameters
    ----------
    uri
        The file.
    compression
        ``gzip``, ``zstd`` or None.

    Raises
    ------
    OSError
        If it cannot be opened.
    """
    filesystem, path = _place(uri)
    return filesystem.open_input_stream(
        path, compression=str(compression) if compression else None, buffer_size=_BUFFER
    )


def matches(uri: str, *, wildcards: frozenset[str]) -> Iterator[Found]:
    """Return the files of a store that a URI names.

    Parameters
    ----------
    uri
        A file, a directory or a wildcard.
    wildcards
        The characters that make it a wildcard.

    Raises
    ------
    BadContribution
        If the store does not answer, or refuses.
    """
    with named(shown(uri)):
        filesystem, path = _place(uri)
        steps = path.split("/")
        wild = [i for i, step in enumerate(steps) if not wildcards.isdisjoint(step)]
        info = filesystem.get_file_info(path)
        if info.is_file:
            found = [info]
        elif wild:
            below = _below(filesystem, "/".join(steps[: wild[0]]))
            found = [each for each in below if _fits(each.path.split("/"), steps)]
        else:
            top = path.rstrip("/")
            found = [
                each
                for each in _below(filesystem, top)
                if visible(each.path.removeprefix(f"{top}/").split("/"))
            ]
        for info in found:
            if info.is_file:
                yield Found(_renamed(uri, path, info.path), info.size, info.mtime_ns)


def visible(parts: Sequence[str]) -> bool:
    """Return whether no part of a path is hidden or a note."""
    return not any(part.startswith((".", "_")) for part in parts)


def _below(filesystem: pa.fs.FileSystem, path: str) -> list[pa.fs.FileInfo]:
    selector = pa.fs.FileSelector(path, recursive=True, allow_not_found=True)
    return list(filesystem.get_file_info(selector))


def _fits(steps: Sequence[str], wildcard: Sequence[str]) -> bool:
    """Return whether a path matches a wildcard, as one of local files does."""
    if not steps or not wildcard:
        return not steps and not wildcard
    first, *rest = wildcard
    if first == "**" and rest:
        return any(_fits(steps[skipped:], rest) for skipped in range(len(steps)))
    # In a URI ? begins the options: one that was written %3F is no wildcard.
    matches = fnmatchcase(steps[0], first.replace("?", "[?]"))
    return matches and _fits(steps[1:], rest)


def _split(uri: str) -> SplitResult:
    try:
        # A key may have a #, and a store has no fragments.
        return urlsplit(uri, allow_fragments=False)
    except ValueError as error:
        scheme = uri.partition(":")[0]
        raise BadContribution(f"{scheme}://…: is no URI: {plain(error)}") from error


def _place(uri: str) -> tuple[pa.fs.FileSystem, str]:
    if not is_uri(uri):
        return pa.fs.LocalFileSystem(), uri
    parts = _split(uri)
    root = urlunsplit((parts.scheme, parts.netloc, "", parts.query, ""))
    try:
        filesystem, base = _filesystem(root)
    except (ValueError, NotImplementedError) as error:
        raise BadContribution(
            f"{shown(uri)}: {plain(error)}; give a path, or a URI such as "
            "s3://bucket/key"
        ) from error
    return filesystem, base + unquote(parts.path)


@lru_cache(32)
def _filesystem(root: str) -> tuple[pa.fs.FileSystem, str]:
    filesystem, base = pa.fs.FileSystem.from_uri(root)
    return filesystem, base.rstrip("/")


def _renamed(uri: str, path: str, found: str) -> str:
    """Return the URI of another file of the same store."""
    parts = _split(uri)
    base = path.removesuffix(unquote(parts.path))
    key = quote(found.removeprefix(base), safe="/")
    return urlunsplit((parts.scheme, parts.netloc, key, parts.query, ""))
