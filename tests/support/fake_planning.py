"""A planner that plans what a test says, and what a session's answer looks like."""

from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pyarrow as pa
from support.fake_worker import COLUMNS

from qserv.catalog.snapshot import EVERYWHERE
from qserv.czar.results import Header, Progress, Request, Trailer
from qserv.plan.cost import Cost
from qserv.plan.plan import (
    Extent,
    Fragment,
    Plan,
    Residual,
    Route,
    ScanClass,
    ScanSource,
)
from qserv.wire.codec import Digest, decode_batch, decode_schema


class Planning:
    """Plans the stages that a test says, whatever the text; remembers the homes.

    Asked for a frugal plan it gives another, if the test has one.
    """

    def __init__(self):
        self.stages = [fragment()]
        self.frugal = None
        self.chunks = [4, 5, 6, 7]
        self.homes = None
        self.spent = Cost(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

    def plan(self, text, snapshot, *, language, default_release, frugal):
        stages = (frugal and self.frugal) or self.stages
        return Plan(
            query=text,
            snapshot=snapshot.id,
            release="hip",
            stages=tuple(stages),
            columns=stages[-1].columns,
            scan_class=ScanClass.SCAN,
        )

    def route(self, sent, snapshot, homes):
        self.homes = homes
        chunks = np.array(self._chunks(sent), np.int64)
        return Route(chunks, 12, 0, 0, np.ones_like(chunks))

    def _chunks(self, sent):
        if sent.once:
            return [EVERYWHERE]
        return self.chunks if sent.family else range(sent.buckets)

    def cost(self, plan, routes, *, workers, cores):
        return self.spent

    def explain(self, plan, routes, happened, *, workers, cores):
        told = f"{len(plan.stages)} stages, chunks of {sorted(routes)} are known"
        if happened is None:
            return told
        return "\n".join([told, *(f"{k} {did}" for k, did in sorted(happened.items()))])


def fragment(**changes):
    source = ScanSource("hip", "Object", 1, Extent.OWN, COLUMNS)
    plain = Fragment("SELECT …", (), (source,), COLUMNS, family="hip", tree_version=1)
    return replace(plain, **changes)


def residual(sql="SELECT * FROM stage_0", *parameters, columns=COLUMNS, inputs=(0,)):
    return Residual(sql, parameters, columns, inputs)


async def frames(session, text="SELECT …", **request):
    async with aclosing(session.query(Request(text, **request))) as answer:
        return [frame async for frame in answer if not isinstance(frame, Progress)]


async def ask(session, **request):
    """Return header, table and trailer of an answer, its digest checked."""
    header, *data, trailer = await frames(session, **request)
    assert isinstance(header, Header)
    assert isinstance(trailer, Trailer)
    digest = Digest()
    for message in data:
        digest.update(message)
    assert digest.value() == trailer.digest
    schema = decode_schema(header.schema)
    batches = [decode_batch(message, schema) for message in data]
    table = pa.Table.from_batches(batches, schema)
    assert table.num_rows == trailer.rows
    return header, table, trailer
