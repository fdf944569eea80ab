"""Small catalogs, published without files."""

import numpy as np

from qserv.catalog.placement import place
from qserv.catalog.provenance import Contribution, Load
from qserv.catalog.publication import HeldFile, Publication
from qserv.catalog.snapshot import EVERYWHERE, Family, ManifestEntry, Role
from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.sky.chunking import ChunkTree

OBJECT = Table(
    name="Object",
    kind=TableKind.DIRECTOR,
    columns=(
        Column("objectId", DataType.BIGINT, ucd="meta.id;meta.main", nullable=False),
        Column("ra", DataType.DOUBLE, unit="deg", description="Right ascension."),
        Column("dec", DataType.DOUBLE, unit="deg"),
    ),
    key="objectId",
    position=("ra", "dec"),
    description="Stars.",
)
SOURCE = Table(
    name="Source",
    kind=TableKind.CHILD,
    columns=(
        Column("sourceId", DataType.BIGINT),
        Column("objectId", DataType.BIGINT),
        Column("flux", DataType.REAL, unit="nJy"),
    ),
    key="objectId",
    director="Object",
)
FILTER = Table(
    name="Filter",
    kind=TableKind.REPLICATED,
    columns=(Column("name", DataType.VARCHAR),),
)
TREE = ChunkTree.uniform(0)
WORKERS = ("w1", "w2", "w3")


def family(workers=WORKERS, replicas=1, name="hip"):
    chunks = place(TREE.chunks, workers, replicas)
    return Family(
        name=name,
        overlap=1 / 60,
        leaf_rows=1000,
        leaf_bytes=2**20,
        tree_version=1,
        tree=TREE,
        replicas={EVERYWHERE: tuple(workers), **chunks},
    )


def entry(path, chunk, rows=10, role=Role.BASE, version=1, **more):
    return ManifestEntry(
        role=role,
        chunk=chunk,
        path=path,
        rows=rows,
        live_rows=rows,
        size=100 * rows,
        sha256="ab" * 32,
        validity=(version, None),
        **more,
    )


def files(load, layout, version=1, rows=10):
    """Return Object files in chunks 4 and 5, Source in 4, Filter, and an index."""
    at = layout.replicas
    index = {"objectId": (1, 1000)}
    made = [
        ("Object", entry(f"{load}/o4", 4, rows, version=version, offset=0.0), at[4]),
        ("Object", entry(f"{load}/o5", 5, rows, version=version, offset=0.5), at[5]),
        ("Object", entry(f"{load}/v4", 4, 3, Role.OVERLAP, version), at[4]),
        (
            "Object",
            entry(f"{load}/i0", version - 1, 20, Role.INDEX, version, bounds=index),
            at[4],
        ),
        ("Source", entry(f"{load}/s4", 4, 5 * rows, version=version), at[4]),
        ("Filter", entry(f"{load}/f", EVERYWHERE, 6, version=version), at[EVERYWHERE]),
    ]
    return tuple(HeldFile(table, file, frozenset(held)) for table, file, held in made)


def publish(store, load="load-1", *, layout=None, release="hip", **changes):
    """Publish a release with Object, Source and Filter; return the snapshot."""
    layout = layout or family()
    for worker in layout.replicas[EVERYWHERE]:
        store.join(worker, "127.0.0.1:1")
    store.begin(Load(load, release, layout.name, "me", "tests 1"))
    version = store.allocate()
    values = {
        "load": load,
        "version": version,
        "release": release,
        "family": layout,
        "replicas": 1,
        "tables": (OBJECT, SOURCE, FILTER),
        "files": files(load, layout, version),
        "contributions": (
            Contribution("Object", "objects.parquet", "cd" * 32, 20, 1, 2),
        ),
        "radii": {"Object": layout.overlap},
    }
    return store.publish(Publication(**values | changes))


def chunks_of(statistics):
    return dict(
        zip(
            statistics.chunks.tolist(),
            np.column_stack((statistics.rows, statistics.size)).tolist(),
            strict=True,
        )
    )
