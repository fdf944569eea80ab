"""What workers would have of small metadata, without any worker."""

from dataclasses import replace

import sqlalchemy as sa

from qserv.catalog.gathered import Held, Listed
from qserv.catalog.history import entry, live
from qserv.errors import CorruptData


def helds(store, workers=("w1", "w2", "w3"), checkpoint=None):
    """Return what workers have; `checkpoint` is what `remembered` returned before."""
    made, texts = checkpoint or remembered(store)

    def read(name):
        if name not in texts:
            raise CorruptData("missing")
        return texts[name]

    return [
        Held(worker, store.cluster_id, made, read, lambda w=worker: lists(store, w))
        for worker in workers
    ]


def remembered(store):
    """Return a checkpoint and its parts."""
    texts = {}
    made = store.checkpoint(lambda part, text: texts.update({part.sha256: text}))
    return made, texts


def lists(store, worker):
    """Walk the manifests that a worker was given, by the metadata."""
    tables = store.tables
    versions, snapshots = tables["table_version"], tables["snapshot"]
    entries, replicas = tables["manifest_entry"], tables["replica"]
    definitions, releases = tables["catalog_table"], tables["catalog_release"]
    with store.reading() as connection:
        for row in connection.execute(
            sa.select(
                versions.c.table_id,
                versions.c.version,
                snapshots.c.load_id,
                definitions.c.name,
                releases.c.name.label("release"),
            )
            .join(snapshots, snapshots.c.id == versions.c.version)
            .join(definitions, definitions.c.id == versions.c.table_id)
            .join(releases, releases.c.id == definitions.c.release_id)
        ).all():
            rows = connection.execute(
                sa.select(entries)
                .join(replicas, replicas.c.entry_id == entries.c.id)
                .where(
                    entries.c.table_id == row.table_id,
                    replicas.c.worker_id == worker,
                    live(entries, row.version),
                )
            )
            found = [entry(one) for one in rows]
            plain = [replace(e, validity=(e.validity[0], None)) for e in found]
            yield Listed(row.release, row.name, row.version, row.load_id, tuple(plain))


def copies(store):
    """Return path -> workers."""
    entries, replicas = store.tables["manifest_entry"], store.tables["replica"]
    found = {}
    with store.reading() as connection:
        for path, worker in connection.execute(
            sa.select(entries.c.path, replicas.c.worker_id).join(
                replicas, replicas.c.entry_id == entries.c.id
            )
        ):
            found.setdefault(path, set()).add(worker)
    return found
