"""Manifests on their way: a million entries are more than one message may have."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final, TypeVar

from qserv.storage.layout import check_path
from qserv.storage.manifest import Key, Manifest
from qserv.wire.messages import entry_from_proto, entry_to_proto
from qserv.wire.v1 import common_pb2

__all__ = ["Arriving", "parts", "sent"]

ENTRIES: Final = 10_000
"""Entries of a part at most: some megabytes."""
CHUNKS: Final = 500_000

Message = TypeVar("Message")


def parts(manifest: Manifest) -> Iterator[common_pb2.Manifest]:
    """Cut a manifest into messages; each says what it is of."""
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
        )


async def sent(
    manifests: Iterable[Manifest],
    message: Callable[[Manifest, common_pb2.Manifest], Message],
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

    @property
    def manifests(self) -> list[Manifest]:
        """All of them, whole, in the order in which they came."""
        return [
            replace(
                some[0],
                chunks=tuple(chunk for part in some for chunk in part.chunks),
                entries=tuple(entry for part in some for entry in part.entries),
            )
            for some in self._made.values()
        ]
