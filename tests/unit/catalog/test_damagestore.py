"""Bad copies in the metadata, and what queries are told of them."""

from contextlib import closing

import pytest
import sqlalchemy as sa
from support import metadata

from qserv.catalog import damagestore
from qserv.catalog.damagestore import Damaged, moment
from qserv.catalog.store import Store

BAD = "load-1/o4"
INDEX = "load-1/i0"


@pytest.fixture
def store(tmp_path, metadata_place):
    with closing(Store.open(tmp_path, metadata_place)) as store:
        metadata.publish(store, layout=metadata.family(replicas=2))
        yield store


def holders(store, path):
    """Return worker -> state of a file's replica."""
    entries, replicas = store.tables["manifest_entry"], store.tables["replica"]
    with store.reading() as connection:
        rows = connection.execute(
            sa.select(replicas.c.worker_id, replicas.c.state)
            .join(entries, entries.c.id == replicas.c.entry_id)
            .where(entries.c.path == path)
        )
        return {row.worker_id: row.state for row in rows}


def quarantine(store, worker, *paths):
    found = [Damaged(worker, path, moment(1e9), "it is bad") for path in paths]
    with store.writing() as connection:
        return damagestore.quarantine(connection, store.tables, found)


def restore(store, worker, *still):
    with store.writing() as connection:
        return damagestore.restore(connection, store.tables, worker, still)


def history(store, **how):
    with store.reading() as connection:
        return damagestore.history(connection, store.tables, **how)


def test_a_replica_goes_into_quarantine_once(store):
    worker, other = holders(store, BAD)
    (fresh,) = quarantine(store, worker, BAD)
    assert (fresh.path, fresh.reason) == (BAD, "it is bad")
    assert quarantine(store, worker, BAD) == []
    assert holders(store, BAD) == {worker: "quarantined", other: "live"}
    (file,) = [f for f in store.files("hip", "Object") if f.entry.path == BAD]
    assert file.workers == {other}


def test_a_file_without_a_good_copy_is_still_a_file_of_its_table(store):
    """A manifest that is made without it would pass for whole."""
    for worker in holders(store, BAD):
        quarantine(store, worker, BAD)
    (file,) = [f for f in store.files("hip", "Object") if f.entry.path == BAD]
    assert file.workers == frozenset()
    # Who is only asked who keeps what hears the same.
    told = [
        (f.entry.path, f.entry.chunk, f.entry.role, f.workers)
        for f in store.files("hip", "Object")
    ]
    assert list(store.keepers("hip", "Object")) == told


def test_it_comes_back_when_it_is_there_again(store):
    worker, _ = holders(store, BAD)
    quarantine(store, worker, BAD)
    assert restore(store, worker, BAD) == []
    assert restore(store, worker) == [BAD]
    assert set(holders(store, BAD).values()) == {"live"}
    assert history(store) == []
    (past,) = history(store, repaired=True)
    assert past.found == "2001-09-09T01:46:40.000+00:00"
    assert past.repaired > past.found


def test_it_can_be_damaged_again(store):
    worker, _ = holders(store, BAD)
    quarantine(store, worker, BAD)
    restore(store, worker)
    later = Damaged(worker, BAD, moment(1e9 + 1), "it is bad again")
    with store.writing() as connection:
        assert damagestore.quarantine(connection, store.tables, [later]) == [later]
    assert len(history(store, repaired=True)) == 2


def test_what_a_worker_was_never_given_is_no_damage(store):
    (stranger,) = set(metadata.WORKERS) - holders(store, BAD).keys()
    assert quarantine(store, stranger, BAD, "no/such/file") == []
    assert history(store) == []


def test_an_index_shard_whose_copies_are_all_bad_is_still_asked(store):
    """Without it, its keys would seem not to exist."""
    first, second = sorted(holders(store, INDEX))
    quarantine(store, first, INDEX)
    (shard,) = store.refreshed().table("hip", "Object").index
    assert shard.workers == (second, first)
    quarantine(store, second, INDEX)
    (shard,) = store.refreshed().table("hip", "Object").index
    assert set(shard.workers) == {first, second}


def test_an_index_shard_that_nobody_has_is_still_asked(store):
    replicas = store.tables["replica"]
    with store.writing() as connection:
        connection.execute(sa.delete(replicas))
    (shard,) = store.refreshed().table("hip", "Object").index
    assert shard.workers == ()
