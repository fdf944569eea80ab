"""The steps of one load between its beginning and its end."""

import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

import grpc
import numpy as np
import pyarrow as pa

from qserv.catalog.tables import Table, TableKind
from qserv.ingest import index, parcels, readers, rows
from qserv.ingest.extremes import extremes
from qserv.ingest.locate import Locator
from qserv.ingest.partition import Located
from qserv.ingest.peers import Czar
from qserv.ingest.progress import LoadReport, Meter, Phase
from qserv.ingest.rows import Source
from qserv.ingest.staging import Stager
from qserv.sky.chunking import ChunkTree, Load, deepest_order
from qserv.wire.messages import bounds_to_proto, table_from_proto
from qserv.wire.v1 import common_pb2
from qserv.wire.v1 import czar_pb2 as pb

_FILES_A_CALL: Final = 1000

_SYSTEM_BYTES: Final = 8.0
"""Bytes that the system columns add to a stored row, about: they compress well."""


class Job:
    """One load, after the czar began it.

    Parameters
    ----------
    begun
        What the czar answered to the beginning.
    czar, channels, meter
        Who is called, how workers are reached, who is told.
    """

    def __init__(
        self,
        *,
        begun: pb.BeginReply,
        czar: Czar,
        channels: Callable[[str], grpc.Channel],
        meter: Meter,
    ) -> None:
        self._begun = begun
        self._czar = czar
        self._channels = channels
        self._meter = meter
        live = {
            existing.name.lower(): index.LiveIndex(begun.release, existing, channels)
            for existing in begun.tables
        }
        self._locator = Locator(live=live, loaded={}, overlap=begun.overlap)
        self._located: dict[str, Located] = {}
        self._copies: dict[str, tuple[Table, pa.Table]] = {}
        self._sources: list[pb.Contribution] = []

    def run(self, paths: Mapping[str, Sequence[Path]]) -> LoadReport:
        """Read, place, send and commit.

        Parameters
        ----------
        paths
            The files of each table to load, by lower-case name, directors first.

        Returns
        -------
        LoadReport
            What was loaded.
        """
        known = {d.name.lower(): table_from_proto(d) for d in self._begun.definitions}
        wanted = [(known[name], found) for name, found in paths.items()]
        counts = [readers.count(path) for found in paths.values() for path in found]
        total = None if None in counts else sum(filter(None, counts))
        self._meter.enter(Phase.READING, total=total)
        for table, found in wanted:
            self._read(table, found)
        self._meter.enter(Phase.PARTITIONING)
        tree = self._tree()
        placement = self._place(tree)
        self._tell_sources()
        size = self._send(tree, placement)
        self._meter.enter(Phase.COMMITTING)
        loaded = self._rows_by_table()
        snapshot = self._czar.commit(
            pb.CommitRequest(
                transaction=self._begun.transaction,
                rows=loaded,
                bounds=self._bounds(),
            )
        )
        return LoadReport(
            release=self._begun.release,
            snapshot=snapshot,
            rows=loaded,
            files={table.name: len(found) for table, found in wanted},
            chunks=len(tree),
            size=size,
            nulled=sum(c.nulled for c in self._sources),
            wrapped=sum(c.wrapped for c in self._sources),
            seconds=self._meter.elapsed,
        )

    def _read(self, table: Table, paths: Sequence[Path]) -> None:
        def seen(count: int, size: int) -> None:
            self._meter.add(table.name, count, size)

        found = rows.gather(table, paths, seen=seen)
        wrapped = (0,) * len(found.sources)
        if table.kind is TableKind.REPLICATED:
            self._copies[table.name] = (table, found.data)
        else:
            self._located[table.name], wrapped = self._locator.locate(found)
        self._sources += [
            _contribution(table, source, count)
            for source, count in zip(found.sources, wrapped, strict=True)
        ]

    def _rows_by_table(self) -> dict[str, int]:
        partitioned = {n: len(located.homes) for n, located in self._located.items()}
        return partitioned | {n: data.num_rows for n, (_, data) in self._copies.items()}

    def _bounds(self) -> Iterator[pb.TableBounds]:
        loaded = [(located.table, located.data) for located in self._located.values()]
        for table, data in [*self._copies.values(), *loaded]:
            yield bounds_to_proto(table.name, extremes(table, data))

    def _tree(self) -> ChunkTree:
        """Return the family's tree, which its first load makes."""
        if self._begun.tree:
            return ChunkTree(np.array(self._begun.tree, dtype=np.int64))
        return ChunkTree.build(
            [_load(located) for located in self._located.values()],
            leaf_rows=self._begun.leaf_rows,
            leaf_bytes=self._begun.leaf_bytes,
            max_order=deepest_order(self._begun.overlap),
        )

    def _place(self, tree: ChunkTree) -> parcels.Placement:
        request = pb.PlaceRequest(
            transaction=self._begun.transaction,
            tree=() if self._begun.tree else tree.chunks.tolist(),
            index_shards=parcels.shards_wanted(self._located.values()),
        )
        return parcels.Placement(self._czar.place(request))

    def _send(self, tree: ChunkTree, placement: parcels.Placement) -> int:
        """Write and stage all files; return the bytes that workers took, all copies."""
        self._meter.enter(Phase.SENDING, total=sum(self._rows_by_table().values()))
        with tempfile.TemporaryDirectory(prefix="qserv-load-") as scratch:
            stager = Stager(
                transaction=self._begun.transaction,
                release=self._begun.release,
                scratch=Path(scratch),
                channels=self._channels,
            )
            # Table by table, for each is sorted in memory while it is sent.
            size = 0
            for table, data in self._copies.values():
                parts = parcels.of_copies(table, data, placement)
                size += self._contribute(stager.stage(parts))
            for located in self._located.values():
                parts = parcels.of_chunks(located, tree, self._begun.overlap, placement)
                size += self._contribute(stager.stage(parts))
        return size

    def _contribute(self, staged: Generator[pb.StagedFile, None, None]) -> int:
        size = 0
        # Closed also when interrupted: no file may arrive after the abort.
        with closing(staged):
            counted = map(self._count, staged)
            while files := list(islice(counted, _FILES_A_CALL)):
                self._czar.contribute(
                    pb.ContributeRequest(
                        transaction=self._begun.transaction, files=files
                    )
                )
                size += sum(map(_sent, files))
        return size

    def _count(self, file: pb.StagedFile) -> pb.StagedFile:
        base = file.entry.role == common_pb2.ROLE_BASE
        self._meter.add(file.table, file.entry.rows if base else 0, _sent(file))
        return file

    def _tell_sources(self) -> None:
        sources = iter(self._sources)
        while some := list(islice(sources, _FILES_A_CALL)):
            self._czar.contribute(
                pb.ContributeRequest(
                    transaction=self._begun.transaction, contributions=some
                )
            )


def _sent(file: pb.StagedFile) -> int:
    return file.entry.size * len(file.worker_ids)


def _load(located: Located) -> Load:
    """Return what a table says about where the tree is split."""
    count = len(located.homes)
    return Load(
        homes=located.homes,
        row_bytes=located.data.nbytes / max(count, 1) + _SYSTEM_BYTES,
        director=located.table.kind is TableKind.DIRECTOR,
    )


def _contribution(table: Table, source: Source, wrapped: int) -> pb.Contribution:
    return pb.Contribution(
        table=table.name,
        source=str(source.path),
        sha256=source.sha256,
        rows=source.rows,
        nulled=source.nulled,
        wrapped=wrapped,
    )
