"""What workers keep lists of: their manifests follow what the metadata says."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Final

from qserv.catalog import copystore
from qserv.catalog.store import Store
from qserv.czar import replication
from qserv.czar.answering import answering
from qserv.czar.holdings import Known, State, Version
from qserv.czar.members import Member
from qserv.czar.replication import Listed
from qserv.ingest.manifests import sent
from qserv.storage.manifest import Manifest, content
from qserv.telemetry import logger
from qserv.wire.messages import entry_to_proto
from qserv.wire.v1 import common_pb2, worker_pb2

_log = logger(__name__)

Key = tuple[str, str, int]
Contents = Mapping[str, Mapping[Key, bytes]]

_ANSWER: Final = 30.0
"""Seconds that a worker may take to say what it has."""
_TAKE_OVER: Final = 600.0
"""Seconds that a worker may take to take manifests over."""
_DROPPED: Final = 100_000
"""Paths of files to be dropped that one message has."""
_EMPTY: Final = content((), ())


class Keeping:
    """Has workers list what they have.

    Parameters
    ----------
    store
        The metadata.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def agrees(
        self,
        member: Member,
        known: Known,
        wanted: Contents,
    ) -> bool:
        """Ask a worker whether its manifests list what they should.

        Parameters
        ----------
        member
            The worker.
        known
            Of all versions.
        wanted
            As `contents` returns it.

        Raises
        ------
        ClusterError
            If it does not answer.
        """
        has = await _described(member)
        mine = wanted.get(member.id, {})
        return all(
            has.get(version.key) == mine.get(version.key, _EMPTY)
            for version in known.versions
            if version.key in has or version.key in mine
        )

    async def take_over(
        self,
        member: Member,
        known: Known,
        state: State,
        dropped: Collection[int],
    ) -> None:
        """Have a worker's manifests list what they should, and files dropped.

        Parameters
        ----------
        member
            The worker.
        known, state
            What there is, and what there is when it has done so.
        dropped
            Numbers of files that it shall drop.

        Raises
        ------
        ClusterError
            If it does not.
        """
        # What was missing a moment ago may be there again: nothing is remembered.
        absent: set[int] = set()
        has = await _described(member)
        while True:
            wrong = _wrong(known, state, member.id, absent, has)
            if not wrong and not dropped:
                return
            missing = await self._replace(member, state, wrong, dropped)
            if not missing:
                return
            absent |= missing
            await self._spoil(member.id, missing)

    async def _spoil(self, worker: str, numbers: Collection[int]) -> None:
        _log.warning("files are missing", worker=worker, files=len(numbers))

        def write() -> None:
            with self._store.writing() as connection:
                copystore.spoil(connection, self._store.tables, worker, numbers)

        await asyncio.to_thread(write)

    async def _replace(
        self,
        member: Member,
        state: State,
        wrong: Mapping[Version, Listed],
        dropped: Collection[int],
    ) -> set[int]:
        """Send manifests; return the numbers of files that they need and lack."""
        numbers = {number for listed in wrong.values() for number in listed.files}
        paths = [state.files[number].path for number in dropped]
        missing: set[str] = set()
        with answering(member):
            requests = self._requests(wrong, paths)
            async for progress in member.stub.Pull(requests, timeout=_TAKE_OVER):
                missing |= set(progress.missing)
        return {n for n in numbers if state.files[n].path in missing}

    async def _requests(
        self, wrong: Mapping[Version, Listed], dropped: Sequence[str]
    ) -> AsyncIterator[worker_pb2.PullRequest]:
        for start in range(0, len(dropped), _DROPPED):
            yield worker_pb2.PullRequest(drop=dropped[start : start + _DROPPED])
        made = (self._manifest(version, listed) for version, listed in wrong.items())
        async for request in sent(made, _request):
            yield request

    def _manifest(self, version: Version, listed: Listed) -> Manifest:
        with self._store.reading() as connection:
            found = copystore.entries(connection, self._store.tables, listed.files)
        return Manifest(
            release=version.release,
            table=version.name,
            version=version.version,
            tree_version=version.tree_version,
            transaction=version.transaction,
            chunks=listed.chunks,
            entries=tuple(found[number] for number in listed.files),
        )

    async def entries(
        self, numbers: Iterable[int]
    ) -> dict[int, common_pb2.ManifestEntry]:
        """Return files by number, as manifests list them."""

        def read() -> dict[int, common_pb2.ManifestEntry]:
            with self._store.reading() as connection:
                found = copystore.entries(connection, self._store.tables, numbers)
            return {number: entry_to_proto(entry) for number, entry in found.items()}

        return await asyncio.to_thread(read)


async def _described(member: Member) -> dict[Key, bytes]:
    """Ask a worker what its manifests list."""
    request = worker_pb2.DescribeRequest(manifests=True)
    with answering(member):
        reply = await member.stub.Describe(request, timeout=_ANSWER)
    return {(m.release, m.table, m.version): m.content for m in reply.manifests}


def contents(state: State, versions: Iterable[Version]) -> Contents:
    """Return what tells apart what all workers shall list: worker -> version -> it."""
    found: defaultdict[str, dict[Key, bytes]] = defaultdict(dict)
    for version in versions:
        for worker, listed in replication.listings(state, version).items():
            found[worker][version.key] = _content(state, listed)
    return found


def _wrong(
    known: Known,
    state: State,
    worker: str,
    absent: Collection[int],
    has: Mapping[Key, bytes],
) -> dict[Version, Listed]:
    """Return the versions of which a worker lists something else than it should."""
    families = _families(state, worker)
    found = {}
    for version in known.versions:
        if version.family in families or version.key in has:
            listed = replication.listed(state, version, worker, absent)
            if has.get(version.key) != _content(state, listed):
                found[version] = listed
    return found


def _families(state: State, worker: str) -> set[str]:
    """Return the families of which a worker has, or shall have, anything."""
    found = {
        name
        for name, group in state.groups.items()
        if any(worker in workers for workers in group.placement.values())
    }
    return found | {
        state.files[number].unit.family
        for number, workers in state.held.items()
        if worker in workers
    }


def _content(state: State, listed: Listed) -> bytes:
    return content(listed.chunks, (state.files[n].path for n in listed.files))


def _request(manifest: Manifest, part: common_pb2.Manifest) -> worker_pb2.PullRequest:
    kept = worker_pb2.KeptManifest(transaction=manifest.transaction, manifest=part)
    return worker_pb2.PullRequest(manifests=[kept])
