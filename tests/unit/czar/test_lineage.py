"""Metadata older than what workers remember: told, and nothing is published."""

from contextlib import closing

import pytest
from support import czarloads, metadata
from support.czarloads import begin, commit, staged

from qserv.catalog.store import Store
from qserv.catalog.views import View
from qserv.czar.examination import examine
from qserv.czar.remembrance import Remembrance
from qserv.errors import MetadataBehind

BRIGHT = View("Bright", "SELECT ra FROM Object", "")


async def test_nothing_is_published_on_old_metadata(
    loads, store, members, workers, installation
):
    first, _ = await staged(loads)
    await commit(loads, first)
    second, _ = await staged(loads, release="HIP", leaf_rows=None)
    store.begin(czarloads.record("gone"))
    store.abort("gone", "before the backup", ["w2"])
    store.heard("w2", 7)

    with pytest.raises(MetadataBehind, match="worker w2 remembers snapshot 7, the met"):
        await begin(loads)
    with pytest.raises(MetadataBehind, match="qserv metadata accept"):
        await commit(loads, second)
    with pytest.raises(MetadataBehind):
        store.create_view("hip", BRIGHT)
    remembrance = Remembrance(store=store, members=members)
    assert await remembrance.share() == frozenset()
    await installation.forget(["w2"])
    assert all(not worker.remembered for worker in workers.values())
    assert all(not worker.discarded for worker in workers.values())
    assert all(len(worker.installed) == 1 for worker in workers.values())
    found = await examine(store, members, version="0", lease=1)
    assert any("remembers snapshot 7" in each.text for each in found)

    # The load is kept: it goes on as soon as the rest is found again.
    store.heard("w2", 1)
    assert await commit(loads, second) > 1


def test_what_is_accepted_is_newer_than_all_that_was_ever_published(tmp_path):
    with closing(Store.open(tmp_path)) as store:
        metadata.publish(store)
        before = store.snapshot().id
        store.heard("w1", 7)
    with closing(Store.open(tmp_path)) as store:
        assert store.accept().id > before + 1000
    with closing(Store.open(tmp_path)) as store:
        store.heard("w1", 7)
        store.create_view("hip", BRIGHT)
        assert "bright" in store.snapshot().releases["hip"].views
        assert store.snapshot().table("hip", "Object").rows == czarloads.ROWS["Object"]
