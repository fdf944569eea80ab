"""The steps of one load between its beginning and its end."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any, Final

import numpy as np

from qserv import failpoint, patience
from qserv.errors import (
    BadContribution,
    ClusterError,
    LimitExceeded,
    WorkerUnavailable,
)
from qserv.ingest.bulk import keys, leaves
from qserv.ingest.bulk.gathered import Gathered
from qserv.ingest.bulk.scratch import Scratch
from qserv.ingest.bulk.tasks import Cutting
from qserv.ingest.gathering import Gathering, Input
from qserv.ingest.index import LiveIndex
from qserv.ingest.parcels import Placement
from qserv.ingest.peers import Czar
from qserv.ingest.progress import LoadReport, Meter, Phase
from qserv.ingest.rejects import Rejects
from qserv.ingest.rework.asked import Rework
from qserv.ingest.rework.rereading import arranged, numbers_of
from qserv.ingest.sending import Sending
from qserv.ingest.staging import Staging
from qserv.sky.chunking import ChunkTree, deepest_order, order_of
from qserv.wire.messages import bounds_to_proto, table_from_proto
from qserv.wire.v1 import czar_pb2 as pb

_INPUTS_A_CALL: Final = 1000
_AWAY: Final = 8.0
"""Seconds after which a worker is not about to come back: others take its place."""
_DEEPEST: Final = 12
"""Order at which rows are counted at most: no leaf of it is ever too full."""


class Job:
    """One load, after the czar began it.

    Parameters
    ----------
    begun
        What the czar answered to the beginning.
    czar
        Who is told; None of a dry run.
    pool, scratch
        Runs the tasks; where they leave things.
    inputs
        All input files, as the czar was told of them.
    again
        What stored rows of tables are read again.
    rejects, meter
        What takes rows that are left out; who is told.
    """

    def __init__(
        self,
        *,
        begun: pb.BeginReply,
        czar: Czar | None,
        pool: Executor,
        scratch: Scratch,
        inputs: Sequence[Input],
        again: Sequence[Rework] = (),
        rejects: Rejects,
        meter: Meter,
    ) -> None:
        self._begun = begun
        self._czar = czar
        self._pool = pool
        self._scratch = scratch
        self._inputs = inputs
        self._again = arranged(again, after=len(inputs), scratch=scratch)
        self._rejects = rejects
        self._meter = meter
        self._gathered: dict[str, Gathered] = {}
        self._avoid: set[str] = set()
        self._renew: Callable[[], None] = lambda: None

    def run(self) -> LoadReport:
        """Read, place, send and commit.

        Raises
        ------
        BadContribution
            If a file or too many rows cannot be loaded.
        InvalidRequest
            If the rows that are left out cannot be written down.
        LimitExceeded
            If a worker's disk cannot hold it.
        ClusterError
            If czar or workers fail.
        """
        try:
            self._gather()
        finally:
            # Before anything is sent: who cannot read what is left out loads nothing.
            self._rejects.write()
        self._meter.enter(Phase.PARTITIONING)
        tree = self._tree()
        self._scratch.save(leaves.TREE, tree.chunks)
        numbers = [known.number for known in self._begun.inputs]
        numbers += numbers_of(self._again.values())
        self._scratch.save(leaves.SOURCES, np.array(numbers, np.int64))
        placement = self._place(tree)
        self._tell_inputs()
        sent = self._send(tree, placement)
        snapshot = 0 if self._czar is None else self._commit(self._czar, sent)
        return self._report(tree, sent, snapshot)

    def _fresh(self) -> Iterator[tuple[int, Input]]:
        """Give the input files that are not live yet, numbered."""
        for number, each in enumerate(self._inputs):
            if not self._begun.inputs[number].snapshot:
                yield number, each

    def _gather(self) -> None:
        begun = self._begun
        leaf_orders = order_of(np.array(begun.tree or [4], np.int64)).tolist()
        self._gathered = Gathering(
            tables={d.name.lower(): table_from_proto(d) for d in begun.definitions},
            inputs=tuple(self._fresh()),
            again=self._again,
            live={e.name.lower(): LiveIndex(begun.release, e) for e in begun.tables},
            radii=begun.radii,
            order=max(min(deepest_order(begun.overlap), _DEEPEST), *leaf_orders),
            leaf_rows=begun.leaf_rows,
            pool=self._pool,
            scratch=self._scratch,
            rejects=self._rejects,
            meter=self._meter,
        ).run()

    def _tree(self) -> ChunkTree:
        """Return the family's tree, which its first load makes."""
        if self._begun.tree:
            return ChunkTree(np.array(self._begun.tree, dtype=np.int64))
        partitioned = [g for g in self._gathered.values() if g.table.partitioned]
        return ChunkTree.build(
            [gathered.load for gathered in partitioned],
            leaf_rows=self._begun.leaf_rows,
            leaf_bytes=self._begun.leaf_bytes,
            max_order=min(deepest_order(self._begun.overlap), _DEEPEST),
        )

    def _place(self, tree: ChunkTree, *, renew: bool = False) -> Placement:
        shards = [s for g in self._gathered.values() for s in g.shards if s.rows]
        if self._czar is None:
            return Placement.nobody(tree.chunks.tolist(), len(shards))
        fixed = self._begun.tree and not self._begun.placed
        reply = self._czar.place(
            pb.PlaceRequest(
                transaction=self._begun.transaction,
                attempt=self._begun.attempt,
                tree=() if fixed else tree.chunks.tolist(),
                index_shards=len(shards),
                avoid=sorted(self._avoid),
                renew=renew,
            )
        )
        failpoint.reached("loader.place.placed")
        placement = Placement.told(reply)
        self._check_room(tree, placement)
        return placement

    def _check_room(self, tree: ChunkTree, placement: Placement) -> None:
        """Refuse a load that some worker's disk cannot hold."""
        wanted: Counter[str] = Counter()
        for gathered in self._gathered.values():
            for chunk, size in gathered.spread(tree):
                wanted.update({w.worker_id: int(size) for w in placement.of(chunk)})
        for worker in placement.workers:
            if 0 <= worker.disk_free < (size := wanted[worker.worker_id]):
                raise LimitExceeded(
                    f"the load needs about {size / 2**30:.1f} GiB on worker "
                    f"{worker.worker_id} at {worker.endpoint}, which may take "
                    f"{worker.disk_free / 2**30:.1f} GiB more; free some, add workers, "
                    "or load with fewer replicas"
                )

    def _tell_inputs(self) -> None:
        told = [self._contribution(n, each) for n, each in self._fresh()]
        # Once at least: a load of stored rows alone may have none, and make no file.
        for start in range(0, max(len(told), 1), _INPUTS_A_CALL):
            self._contribute(contributions=told[start : start + _INPUTS_A_CALL])

    def _contribution(self, number: int, each: Input) -> pb.Contribution:
        gathered = self._gathered[each.table]
        return pb.Contribution(
            table=gathered.table.name,
            source=each.file.name,
            sha256=each.sha256,
            rows=gathered.rows[number],
            nulled=gathered.nulled[number],
            wrapped=gathered.wrapped[number],
            rejected=self._rejects.of(number),
            number=self._begun.inputs[number].number,
        )

    def _contribute(self, **what: Any) -> None:
        if self._czar is None:
            return
        transaction, attempt = self._begun.transaction, self._begun.attempt
        self._czar.contribute(
            pb.ContributeRequest(transaction=transaction, attempt=attempt, **what)
        )
        failpoint.reached("loader.contribute.told")

    def _send(self, tree: ChunkTree, placement: Placement) -> Sending:
        total = sum(g.total for g in self._gathered.values())
        self._meter.enter(Phase.SENDING, total=total)
        staging = Staging(
            self._begun.transaction or "dry",
            self._begun.release,
            self._scratch.root,
            dry=self._czar is None,
        )
        radii = dict(self._begun.radii)
        cutting = Cutting(self._scratch, tree, placement, staging, radii)
        sending = Sending(
            gathered=self._gathered.values(),
            pool=self._pool,
            meter=self._meter,
            tell=lambda files: self._contribute(files=files),
            have=self._have() if self._begun.resumed else (),
        )

        def instead(lost: Mapping[str, str]) -> Cutting:
            self._avoid |= lost.keys()
            try:
                others = self._place(tree, renew=True)
            except WorkerUnavailable as error:
                why = "; ".join(f"worker {who}: {what}" for who, what in lost.items())
                raise WorkerUnavailable(
                    f"files could not be sent ({why}), and nobody can take them "
                    f"instead: {error.text}"
                ) from error
            return Cutting(self._scratch, tree, others, staging, radii)

        sending.run(cutting, instead=instead)
        self._renew = partial(sending.again, instead=instead)
        return sending

    def _have(self) -> list[pb.StagedFile]:
        """Return the files that workers acknowledged to the loader before this one."""
        assert self._czar is not None
        transaction, attempt = self._begun.transaction, self._begun.attempt
        asked = pb.StagedRequest(transaction=transaction, attempt=attempt)
        return self._czar.staged(asked)

    def _commit(self, czar: Czar, sent: Sending) -> int:
        self._meter.enter(Phase.COMMITTING)
        tables = [g.table.name for g in self._gathered.values()]
        request = pb.CommitRequest(
            transaction=self._begun.transaction,
            attempt=self._begun.attempt,
            rows=self._rows_by_table(),
            bounds=[bounds_to_proto(name, sent.bounds(name)) for name in tables],
        )
        versions = {e.name.lower(): e.manifest_version for e in self._begun.tables}
        while True:
            del request.checked[:]
            request.checked.extend(
                pb.CheckedTable(
                    table=gathered.table.name, manifest_version=versions.get(name, 0)
                )
                for name, gathered in self._gathered.items()
                if gathered.shards
            )
            reply = self._ask_to_commit(czar, request)
            failpoint.reached("loader.commit.answered")
            if not reply.newer:
                return int(reply.snapshot)
            for existing in reply.newer:
                self._compare_again(existing)
                versions[existing.name.lower()] = existing.manifest_version

    def _ask_to_commit(self, czar: Czar, request: pb.CommitRequest) -> pb.CommitReply:
        """Commit; while too few workers can install, wait, or find others."""
        asking = patience.for_commit(self._waits, self._after)
        return asking(czar.commit, request)

    def _waits(self, error: ClusterError) -> None:
        self._meter.wait(error.text)

    def _after(self, pauses: float) -> None:
        """Have others take what workers had that are away for long."""
        if pauses >= _AWAY:
            # Nobody may be there to take it: then these are waited for.
            with suppress(WorkerUnavailable):
                self._renew()
        self._meter.enter(Phase.COMMITTING)

    def _compare_again(self, existing: pb.ExistingTable) -> None:
        """Refuse keys that another load brought in since this one began."""
        live = LiveIndex(self._begun.release, existing)
        for shard in self._gathered[existing.name.lower()].shards:
            if both := keys.shared(shard, live):
                raise BadContribution(
                    f"table {existing.name} was not loaded: another load brought the "
                    f"same keys in meanwhile, such as {both[0]!r}; leave those rows "
                    "out, or run the same command again with --max-rejects"
                )

    def _rows_by_table(self) -> dict[str, int]:
        return {g.table.name: sum(g.rows.values()) for g in self._gathered.values()}

    def _report(self, tree: ChunkTree, sent: Sending, snapshot: int) -> LoadReport:
        every = self._gathered.values()
        spelled = {name: g.table.name for name, g in self._gathered.items()}
        orders, counts = np.unique(order_of(tree.chunks), return_counts=True)
        kept = {g.asked.stored.table.name: g.asked.rows for g in self._again.values()}
        rows = {t: n - kept.get(t, 0) for t, n in self._rows_by_table().items()}
        known = zip(self._inputs, self._begun.inputs, strict=True)
        return LoadReport(
            release=self._begun.release,
            snapshot=snapshot,
            rows=rows,
            files=dict(Counter(spelled[each.table] for each in self._inputs)),
            chunks=len(tree),
            size=sent.size,
            nulled=sum(sum(g.nulled.values()) for g in every),
            wrapped=sum(sum(g.wrapped.values()) for g in every),
            seconds=self._meter.elapsed,
            rejected=len(self._rejects),
            already={i.file.name: k.snapshot for i, k in known if k.snapshot},
            rejects=self._rejects.file,
            tables={name: sent.report(name, count) for name, count in rows.items()},
            orders=dict(zip(orders.tolist(), counts.tolist(), strict=True)),
            resumed=self._begun.resumed,
            dry=self._czar is None,
            replaced={
                each.name: each.rows - kept.get(each.name, 0)
                for each in self._begun.replaced
                if each.rows > kept.get(each.name, 0)
            },
            kept=kept,
        )
