"""A task that came over the wire, checked against what this worker holds.

A worker answers for exactly the manifest versions that the task names and for chunks
that are placed here, or it refuses and names what it lacks: the czar asks another.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from qserv.catalog.snapshot import EVERYWHERE, ManifestEntry
from qserv.errors import ChunkMissing, InvalidRequest, UnsupportedQuery
from qserv.plan.plan import Extent, ScanClass
from qserv.storage.manifest import Holding
from qserv.storage.manifests import ManifestStore
from qserv.wire.codec import decode_schema, encode_schema
from qserv.wire.messages import RemoteSource, source_from_proto, value_from_proto
from qserv.wire.v1 import worker_pb2
from qserv.worker.buckets import bucketed
from qserv.worker.engine import Batch, Keep, Relation
from qserv.worker.halos import Halo, Near
from qserv.worker.scheduler import WorkItem, batches
from qserv.worker.template import Around, Template

__all__ = ["Inputs", "WorkerTask"]

_WHOLE: Final = -1
_NAMED: Final = 10
_SMALL_BYTES: Final = 32 << 20
# Cutting finer costs more than the executors that would share it gain.
_SHARE_BYTES: Final = 8 << 20
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a batch reads besides the files of its own chunks.

    Parameters
    ----------
    relations
        Rows by name.
    size
        Their bytes.
    halos
        How its halos are read, by the source's number.
    """

    relations: tuple[Relation, ...] = ()
    size: int = 0
    halos: Mapping[int, Around] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Scan:
    source: RemoteSource
    holding: Holding | None
    halo: Halo | None = None

    def entries(self, batch: Sequence[WorkItem]) -> list[ManifestEntry]:
        if (held := self.holding) is None:
            return []
        if self.halo is not None:
            near = self.halo.near(item.chunk for item in batch)
            here = (*near.whole, *near.partly)
            return [e for chunk in here for e in held.own.get(chunk, ())]
        if self.source.extent == Extent.COPY:
            return [*held.own.get(EVERYWHERE, ())]
        found = [e for item in batch for e in held.own.get(item.chunk, ())]
        if self.source.extent == Extent.OWN_AND_OVERLAP:
            found += [e for i in batch for e in held.overlap.get(i.chunk, ())]
        return found


class WorkerTask:
    """One worker's share of a stage, ready to run batch by batch.

    Parameters
    ----------
    request
        As the czar sent it.
    manifests
        What this worker holds.
    batch_bytes, batch_chunks
        Limits of a batch; the request may lower the second.
    executors
        Over how many its batches may be spread.

    Raises
    ------
    ChunkMissing
        If a manifest version or a chunk is not held here; names it.
    InvalidRequest
        If the message contradicts itself.
    UnsupportedQuery
        If it needs what workers do not do yet.
    """

    def __init__(
        self,
        request: worker_pb2.Task,
        *,
        manifests: ManifestStore,
        batch_bytes: int,
        batch_chunks: int,
        executors: int,
    ) -> None:
        _refuse_what_comes_later(request)
        self._request = request
        self._scans = _scans(request, manifests)
        self._check_placed()
        _check_names(request)
        sql, self._schema = request.sql, request.schema
        if request.HasField("spool"):
            schema = decode_schema(request.schema)
            spool = request.spool
            sql, told = bucketed(sql, schema, spool.keys, spool.buckets)
            self._schema = encode_schema(told)
        self._template = Template(sql, [s.source.columns for s in self._scans])
        self._parameters = tuple(map(value_from_proto, request.parameters))
        items = self._items()
        share = sum(item.work for item in items) // executors
        self.batches = batches(
            items,
            min(batch_bytes, max(share, _SHARE_BYTES)),
            min(batch_chunks, request.batch_chunks or batch_chunks),
        )
        """The work items of each batch."""

    @property
    def scan_class(self) -> ScanClass:
        """How it is scheduled."""
        interactive = self._request.scan_class == worker_pb2.SCAN_CLASS_INTERACTIVE
        return ScanClass.INTERACTIVE if interactive else ScanClass.SCAN

    @property
    def request(self) -> worker_pb2.Task:
        """As the czar sent it."""
        return self._request

    @property
    def gathers(self) -> bool:
        """Whether it reads rows from elsewhere."""
        asked = self._request
        return bool(asked.side_tables or asked.halos or asked.bucket_inputs)

    @property
    def halos(self) -> Mapping[int, Halo]:
        """The sources that are one, by their number."""
        return {n: s.halo for n, s in enumerate(self._scans) if s.halo is not None}

    def chunks(self, number: int) -> list[int]:
        """Return the chunks, or buckets, of a batch."""
        return [item.chunk for item in self.batches[number]]

    def near(self, number: int) -> dict[int, Near]:
        """Return what a batch reads of each halo, by the source's number."""
        chunks = self.chunks(number)
        return {source: halo.near(chunks) for source, halo in self.halos.items()}

    @property
    def limit(self) -> int | None:
        """Rows after which it may stop."""
        return self._request.limit if self._request.HasField("limit") else None

    def entries(self, number: int) -> list[list[ManifestEntry]]:
        """Return the files that a batch reads, by source."""
        return [scan.entries(self.batches[number]) for scan in self._scans]

    def batch(
        self,
        entries: Sequence[Sequence[ManifestEntry]],
        inputs: Inputs,
        rows: int,
        keep: Keep | None,
    ) -> Batch:
        """Return what an executor runs.

        Parameters
        ----------
        entries
            As `entries` gave them.
        inputs
            Rows from elsewhere.
        rows
            That the task has sent already.
        keep
            Where its rows go, if they stay here.
        """
        files = [[(e.chunk, e.path) for e in of_source] for of_source in entries]
        size = sum(entry.size for of_source in entries for entry in of_source)
        size += inputs.size
        interactive = self.scan_class is ScanClass.INTERACTIVE
        return Batch(
            sql=self._template.fill(files, inputs.halos),
            parameters=self._parameters,
            schema=self._schema,
            limit=None if self.limit is None else max(0, self.limit - rows),
            small=interactive and size <= _SMALL_BYTES and keep is None,
            relations=inputs.relations,
            keep=keep,
        )

    def place(self, number: int) -> str:
        """Return where a batch reads, for people."""
        chunks = self.chunks(number)
        if stages := [given.stage for given in self._request.bucket_inputs]:
            return f"{_named(chunks, 'bucket')} of stages {', '.join(map(str, stages))}"
        tables = sorted({f"{s.source.release}.{s.source.table}" for s in self._scans})
        return f"{_named(chunks)} of {', '.join(tables)}"

    def _check_placed(self) -> None:
        for scan in self._scans:
            if scan.halo is not None:
                continue
            if scan.source.extent == Extent.COPY:
                wanted = {EVERYWHERE}
            elif self._request.bucket_inputs:
                raise InvalidRequest("a task over buckets reads chunks of a table")
            else:
                wanted = set(self._request.chunks)
            if scan.holding and (missing := wanted - scan.holding.placed):
                raise ChunkMissing(
                    f"this worker does not hold {_named(sorted(missing))} of "
                    f"{scan.source.release}.{scan.source.table}",
                    chunks=sorted(missing),
                )

    def _items(self) -> list[WorkItem]:
        chunks, work = self._request.chunks, self._request.work
        if len(set(chunks)) != len(chunks):
            raise InvalidRequest("a task names a chunk twice")
        if len(work) not in {0, len(chunks)}:
            raise InvalidRequest("a task's work is not aligned with its chunks")
        return [
            WorkItem(chunk, _WHOLE, size)
            for chunk, size in zip(chunks, work or map(self._size, chunks), strict=True)
        ]

    def _size(self, chunk: int) -> int:
        if self._request.bucket_inputs:
            return _SHARE_BYTES
        item = (WorkItem(chunk, _WHOLE, 0),)
        unlike = {Extent.COPY, Extent.HALO}
        partitioned = [s for s in self._scans if s.source.extent not in unlike]
        return sum(e.size for scan in partitioned for e in scan.entries(item))


def _scans(request: worker_pb2.Task, manifests: ManifestStore) -> list[_Scan]:
    sources = [source_from_proto(source) for source in request.sources]
    halos = {halo.source: halo for halo in request.halos}
    wanted = {n for n, s in enumerate(sources) if s.extent == Extent.HALO}
    if wanted != halos.keys() or len(halos) != len(request.halos):
        raise InvalidRequest("a task's halos are not aligned with its sources")
    made = []
    for number, source in enumerate(sources):
        holding = _held(source, manifests)
        if number not in wanted:
            made.append(_Scan(source, holding))
            continue
        held = holding.placed if holding else frozenset()
        halo = Halo(halos[number].chunks, source.reach, held)
        made.append(_Scan(source, holding, halo))
    return made


def _held(source: RemoteSource, manifests: ManifestStore) -> Holding | None:
    name = f"{source.release}.{source.table}"
    held = manifests.holding(source.release, source.table, source.manifest_version)
    if held is None:
        if source.extent == Extent.HALO:
            return None
        raise ChunkMissing(
            f"this worker does not hold {name} at version {source.manifest_version}"
        )
    tree = held.manifest.tree_version
    if source.extent != Extent.COPY and tree != source.tree_version:
        raise ChunkMissing(
            f"this worker holds {name} at version {source.manifest_version} over tree "
            f"version {tree}, not {source.tree_version}"
        )
    return held


def _check_names(request: worker_pb2.Task) -> None:
    names = [table.name for table in request.side_tables]
    names += [given.name for given in request.bucket_inputs]
    for name in names:
        if not _NAME.fullmatch(name):
            raise InvalidRequest(f"{name[:200]!r} cannot name rows of another stage")


def _refuse_what_comes_later(request: worker_pb2.Task) -> None:
    later = {
        "cuts a chunk into parts": any(p != _WHOLE for p in request.file_parts),
    }
    for what, used in later.items():
        if used:
            raise UnsupportedQuery(f"a task that {what} cannot be run yet")


def _named(chunks: Sequence[int], what: str = "chunk") -> str:
    shown = ", ".join(map(str, chunks[:_NAMED]))
    more = len(chunks) - _NAMED
    which = f"{shown} and {more} more" if more > 0 else shown
    return f"{what}{'s' if len(chunks) > 1 else ''} {which}"
