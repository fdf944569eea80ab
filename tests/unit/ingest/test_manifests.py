"""Manifests go over the wire in parts, and come together whole."""

from dataclasses import replace

import pytest

from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.errors import InvalidRequest
from qserv.ingest import manifests
from qserv.ingest.manifests import Arriving, Change, parts, sent
from qserv.storage.manifest import Holding, Manifest, content
from qserv.wire.channel import MESSAGE_BYTES


def entry(number):
    return ManifestEntry(
        role=Role.BASE,
        chunk=64 + number,
        path=f"dr1/Object/dataset/Norder=9/Dir=0/Npix={number}/t1-0.parquet",
        rows=10**6,
        live_rows=10**6,
        size=2**26,
        sha256="ab" * 32,
        bounds={f"column{n}": (n + 0.25, n + 1e9 / 3) for n in range(10)},
        offset=0.1,
        validity=(3, None),
    )


def manifest(count, chunks=0, table="Object"):
    entries = tuple(entry(number) for number in range(count))
    return Manifest("dr1", table, 3, 1, "t1", tuple(range(chunks)), entries)


@pytest.mark.parametrize(("count", "chunks"), [(0, 0), (1, 3), (6, 0), (7, 9), (2, 20)])
async def test_what_is_sent_arrives_whole(monkeypatch, count, chunks):
    monkeypatch.setattr(manifests, "ENTRIES", 3)
    monkeypatch.setattr(manifests, "CHUNKS", 4)
    wanted = [manifest(count, chunks), manifest(5, 2, "Source")]
    arriving = Arriving()
    async for part in sent(wanted, lambda made, part: (made.transaction, part)):
        transaction, message = part
        assert len(message.entries) <= 3
        arriving.add(message, transaction)
    assert arriving.manifests == wanted


def test_of_a_change_only_what_is_new_is_sent(monkeypatch):
    monkeypatch.setattr(manifests, "ENTRIES", 3)
    old = [replace(entry(n), validity=(2, None)) for n in range(10, 30)]
    added = manifest(5, 2)
    paths = [each.path for each in (*old, *added.entries)]
    made = list(parts(Change(added, 2, content(added.chunks, paths))))
    assert [len(part.entries) for part in made] == [3, 2]
    arriving = Arriving()
    for part in made:
        arriving.add(part, "t1")
    base = replace(added, version=2, entries=tuple(old))
    found, unknown = arriving.whole(lambda *key: Holding.of(base))
    assert unknown == []
    assert [each.path for each in found[0].entries] == sorted(paths)
    assert arriving.whole(lambda *key: None) == ([], ["Object"])


def test_no_part_is_larger_than_a_message(monkeypatch):
    """Of a million entries in one message only its refusal would be heard."""
    whole = manifest(manifests.ENTRIES + 1, manifests.CHUNKS + 1)
    first, second = parts(whole)
    assert first.ByteSize() < MESSAGE_BYTES / 8
    assert (len(second.entries), len(second.chunks)) == (1, 1)
    monkeypatch.setattr(manifests, "ENTRIES", 10**6)
    (first, *_) = parts(manifest(10_000))
    assert first.ByteSize() * 100 > MESSAGE_BYTES


def test_a_path_that_is_none_of_ours_is_refused():
    bad = replace(entry(1), path="../../etc/x.parquet")
    (part,) = parts(replace(manifest(0), entries=(bad,)))
    with pytest.raises(InvalidRequest, match="is not a path of a data file"):
        Arriving().add(part, "t1")
