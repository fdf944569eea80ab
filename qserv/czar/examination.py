"""Gathers what is known of a running cluster, and has it checked."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import sqlalchemy as sa

from qserv.catalog import filestore, healthstore, workerstore
from qserv.catalog.checks import findings
from qserv.catalog.health import Facts, Finding, TableFacts, WorkerFacts
from qserv.catalog.snapshot import Snapshot
from qserv.catalog.store import Store
from qserv.catalog.workerstore import WorkerState
from qserv.czar.answering import answering
from qserv.czar.members import Member, Members
from qserv.czar.versions import Version
from qserv.errors import QservError
from qserv.wire.v1 import worker_pb2

_PATIENCE: Final = 120.0
"""Seconds that a worker may take: it looks for every file that it should have."""

Tables = healthstore.Tables


async def examine(
    store: Store, members: Members, *, version: str, lease: float
) -> list[Finding]:
    """Check the metadata and all workers.

    Parameters
    ----------
    store, members
        The metadata, the workers.
    version
        Of the czar's qserv.
    lease
        Seconds of a loader's silence after which its load counts as left.
    """
    snapshot = store.snapshot()
    asked = [_examined(member) for member in members.alive.values()]
    known, workers = await asyncio.gather(
        asyncio.to_thread(_metadata, store, snapshot, version, lease),
        asyncio.gather(*asked),
    )
    there = {worker.id for worker in workers}
    silent = [w for w in known.workers if w.id not in there]
    found = sorted([*workers, *silent], key=lambda worker: worker.id)
    return findings(replace(known, workers=tuple(found), behind=store.trouble))


def metadata_facts(
    connection: sa.Connection, tables: Tables, snapshot: Snapshot, lease: float
) -> Facts:
    """Return what the metadata says; its workers count as silent."""
    states = workerstore.states(connection, tables)
    expected = [w for w, state in states.items() if state is not WorkerState.LOST]
    facts = healthstore.table_facts(connection, tables, snapshot)
    return Facts(
        running=True,
        version="",
        metadata=tuple(healthstore.trouble(connection, tables)),
        workers=tuple(WorkerFacts(worker, alive=False) for worker in sorted(expected)),
        tables=tuple(_with_lists(connection, tables, snapshot, facts)),
        loads=tuple(healthstore.open_loads(connection, tables, lease)),
        discards=healthstore.discards(connection, tables),
    )


def worker_facts(reply: worker_pb2.ExamineReply, now: float) -> WorkerFacts:
    """Read what a worker says of itself; `now` is the asker's clock."""
    return WorkerFacts(
        id=reply.worker_id,
        alive=True,
        version=reply.version,
        skew=reply.clock - now,
        disk_free=reply.disk_free,
        disk_total=reply.disk_total,
        damaged=tuple((file.path, file.reason) for file in reply.damaged),
        damaged_total=reply.damaged_total,
        bad=tuple(reply.trouble),
        unknown=tuple(reply.unknown),
        unknown_total=reply.unknown_total,
        files=reply.files,
        size=reply.size,
        never_verified=reply.never_verified,
        oldest=reply.oldest_verification,
        verify_age=reply.verify_age,
        scrub_rate=reply.scrub_bytes_per_second,
        lists={(h.release, h.table): (h.version, h.content) for h in reply.held},
    )


def _metadata(store: Store, snapshot: Snapshot, version: str, lease: float) -> Facts:
    with store.reading() as connection:
        facts = metadata_facts(connection, store.tables, snapshot, lease)
        place = connection.dialect.name
    return replace(facts, version=version, place=place)


def _with_lists(
    connection: sa.Connection,
    tables: Tables,
    snapshot: Snapshot,
    facts: Iterable[TableFacts],
) -> Iterable[TableFacts]:
    """Add what tells the manifests that workers shall have."""
    for each in facts:
        table = snapshot.table(each.release, each.table).table
        family = snapshot.family(each.release)
        version = Version("", each.release, table, each.version, family)
        files = filestore.keepers(connection, tables, each.release, each.table)
        lists = {
            worker: listed.content
            for worker, listed in version.lists(files).items()
            if listed.paths
        }
        yield replace(each, lists=lists)


async def _examined(member: Member) -> WorkerFacts:
    request = worker_pb2.ExamineRequest()
    try:
        with answering(member):
            reply = await member.stub.Examine(request, timeout=_PATIENCE)
    except QservError as error:
        return WorkerFacts(member.id, alive=True, trouble=error.text)
    # It reads its clock last, right before this.
    return worker_facts(reply, time.time())
