"""Manifests on their way: a million entries are more than one message may have."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from qserv.catalog.snapshot import ManifestEntry
from qserv.errors import CorruptData
from qserv.storage.layout import check_path
from qserv.storage.manifest import Holding, Key, Manifest, content
from qserv.wire.messages import entry_from_proto, entry_to_proto
from qserv.wire.v1 import common_pb2

__all__ = ["Arriving", "Change", "parts", "sent"]

ENTRIES: Final = 10_000
"""Entries of a part at most: some megabytes."""
CHUNKS: Final = 500_000

Message = TypeVar("Message")
Wanted = TypeVar("Wanted", Manifest, "Manifest | Change")
Held = Callable[[str, str, int], Holding | None]
"""Returns what a worker holds of a release's table at a version."""


@dataclass(frozen=True, slots=True)
class Change:
    """What comes to a manifest of an older version.

    Parameters
    ----------
    manifest
        Of the new version, but that it has only the files that are new.
    base
        The older version.
    content
        What tells the whole apart.
    """

    manifest: Manifest
    base: int
    content: bytes

    @property
    def chunks(self) -> tuple[int, ...]:
        """All that can be answered then."""
        return self.manifest.chunks


def parts(wanted: Manifest | Change) -> Iterator[common_pb2.Manifest]:
    """Cut a manifest into messages; each says what it is of."""
    if isinstance(wanted, Change):
        base, digest, manifest = wanted.base, wanted.content, wanted.manifest
    else:
        base, digest, manifest = 0, b"", wanted
    entries, chunks = manifest.entries, manifest.chunks
    count = max(1, -(-len(entries) // ENTRIES), -(-len(chunks) // CHUNKS))
    for number in range(count):
        some = entries[number * ENTRIES : (number + 1) * ENTRIES]
        yield common_pb2.Manifest(
            release=manifest.release,
            table=manifest.table,
            version=manifest.version,
            tree_version=manifest.tree_version,
            entries=[entry_to_proto(entry) for entry in some],
            chunks=chunks[number * CHUNKS : (number + 1) * CHUNKS],
            base=base,
            content=digest,
        )


async def sent(
    manifests: Iterable[Wanted],
    message: Callable[[Wanted, common_pb2.Manifest], Message],
) -> AsyncIterator[Message]:
    """Make the messages that bring manifests, each when it is wanted.

    Parameters
    ----------
    manifests
        What to send.
    message
        Turns a part of a manifest into a message.
    """
    made = (message(each, part) for each in manifests for part in parts(each))
    while (one := await asyncio.to_thread(next, made, None)) is not None:
        yield one


class Arriving:
    """Manifests that come in parts."""

    def __init__(self) -> None:
        self._made: dict[Key, list[Manifest]] = {}
        self._bases: dict[Key, tuple[int, bytes]] = {}

    def add(self, message: common_pb2.Manifest, transaction: str) -> None:
        """Take in a part; blocks for some milliseconds.

        Raises
        ------
        InvalidRequest
            If a path is none of ours.
        """
        entries = tuple(entry_from_proto(entry) for entry in message.entries)
        for entry in entries:
            check_path(entry.path)
        part = Manifest(
            release=message.release,
            table=message.table,
            version=message.version,
            tree_version=message.tree_version,
            transaction=transaction,
            chunks=tuple(message.chunks),
            entries=entries,
        )
        self._made.setdefault(part.key, []).append(part)
        self._bases[part.key] = message.base, message.content

    def whole(self, held: Held) -> tuple[list[Manifest], list[str]]:
        """Put manifests together with what they add to; blocks.

        Parameters
        ----------
        held
            As `ManifestStore.holding`.

        Returns
        -------
        tuple
            All of them in the order in which they came, and the tables of those that
            add to what is not there.
        """
        made, unknown = [], []
        for manifest in self.manifests:
            base, digest = self._bases[manifest.key]
            whole = _added(manifest, base, held) if base else manifest
            paths = (entry.path for entry in whole.entries) if whole else ()
            if whole and (not base or content(whole.chunks, paths) == digest):
                made.append(whole)
            else:
                unknown.append(manifest.table)
        return made, unknown

    @property
    def manifests(self) -> list[Manifest]:
        """All of them, as they came."""
        return [
            replace(
                some[0],
                chunks=tuple(chunk for part in some for chunk in part.chunks),
                entries=tuple(entry for part in some for entry in part.entries),
            )
            for some in self._made.values()
        ]


def _added(manifest: Manifest, base: int, held: Held) -> Manifest | None:
    """Return a manifest with the entries of an older one; None if that is not there."""
    try:
        holding = held(manifest.release, manifest.table, base)
    except CorruptData:
        return None
    if holding is None:
        return None
    # In the czar's order, and live as the czar knows them.
    entries = sorted(
        (*map(_live, holding.manifest.entries), *manifest.entries),
        key=lambda entry: entry.path,
    )
    return replace(manifest, entries=tuple(entries))


def _live(entry: ManifestEntry) -> ManifestEntry:
    start, end = entry.validity
    return entry if end is None else replace(entry, validity=(start, None))
