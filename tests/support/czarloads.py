"""Loads on a czar without files: begun, placed and contributed as a loader would."""

from dataclasses import replace

from support import metadata

from qserv.catalog.provenance import Contribution, Load
from qserv.catalog.snapshot import Role
from qserv.czar.beginning import Beginning, Source
from qserv.ingest.events import StagedFile

TABLES = (metadata.OBJECT, metadata.SOURCE, metadata.FILTER)
ROWS = {"Object": 20, "Source": 50, "Filter": 6}


def asked(**changes):
    return replace(Beginning("hip", TABLES, leaf_rows=1000), **changes)


def source(name, content, table="object"):
    """Return a file that a loader is about to read."""
    return Source(table, name, content * 32)


def record(number):
    """Return a load as it stands in the history."""
    return Load(number, "hip", "hip", "me", "")


async def begin(loads, **changes):
    """Begin a load; return its id and what it goes into."""
    begun = await loads.begin(asked(**changes))
    return begun.transaction, begun.target


async def place(loads, number, target, shards=1, **more):
    tree = () if target.layout.existing else metadata.TREE.chunks.tolist()
    return await loads.place(number, tree, shards, **more)


def files(number, placed):
    """Return the files of a load on the workers that it was given."""
    at = placed.at | {-1: placed.shards[placed.first_shard]}
    found = []
    for file in metadata.files(number, placed.family, placed.first_shard + 1):
        index = file.entry.role is Role.INDEX
        entry = replace(file.entry, validity=(1, None))
        holders = frozenset(at[-1 if index else entry.chunk])
        found.append(StagedFile(file.table.upper(), entry, holders))
    return found


def read(number, rows=20):
    """Return what a load read from its one file."""
    return Contribution("object", "objects.parquet", f"content of {number}", rows, 1, 2)


async def staged(loads, attempt=0, **changes):
    """Take a load to where it may commit; return its id and what was placed."""
    number, target = await begin(loads, **changes)
    placed = await place(loads, number, target)
    for _ in range(2):
        await loads.contribute(number, [read(number)], files(number, placed))
    return number, placed


async def commit(loads, number, rows=ROWS, **more):
    """Commit a load; return its snapshot."""
    return (await loads.commit(number, rows, **more)).snapshot
