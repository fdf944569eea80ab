"""What workers shall keep of a version: the same, told whole or as what is added."""

from dataclasses import replace
from itertools import product
from random import Random

from support import metadata

from qserv.catalog.publication import HeldFile
from qserv.catalog.snapshot import Role
from qserv.czar.versions import Version, keepers
from qserv.storage.manifest import content

ROLES = (Role.BASE, Role.OVERLAP, Role.INDEX)
FAMILY = metadata.family(replicas=2)


def held(random, load, table, version):
    """Return files, each on some of the workers that its chunk is placed on."""
    made = []
    for chunk, role in product((4, 5, 9), ROLES):
        placed = FAMILY.replicas[chunk]
        workers = random.sample(placed, random.randint(0, len(placed)))
        path = f"{load}/{role}{chunk}"
        entry = metadata.entry(path, chunk, role=role, version=version)
        made.append(HeldFile(table.name, entry, frozenset(workers)))
    random.shuffle(made)
    return made


def test_what_is_added_and_the_whole_tell_the_same():
    random = Random(4)
    version = Version("t2", "hip", metadata.OBJECT, 2, FAMILY)
    for _ in range(50):
        staying = held(random, "t1", metadata.OBJECT, 1)
        fresh = held(random, "t2", metadata.OBJECT, 2)
        whole = version.manifests([*staying, *fresh])
        changes = version.changes(1, [*map(keepers, staying)], fresh)
        assert changes.keys() == whole.keys() == set(metadata.WORKERS)
        for worker, change in changes.items():
            manifest = whole[worker]
            paths = [entry.path for entry in manifest.entries]
            assert change.content == content(manifest.chunks, paths)
            new = [e for e in manifest.entries if e.validity[0] == 2]
            assert change.manifest == replace(manifest, entries=tuple(new))


def test_a_chunk_is_named_only_where_every_file_of_it_is():
    random = Random(5)
    version = Version("t1", "hip", metadata.OBJECT, 1, FAMILY)
    for _ in range(50):
        files = held(random, "t1", metadata.OBJECT, 1)
        for worker, manifest in version.manifests(files).items():
            mine = {f.entry.path for f in files if worker in f.workers}
            assert {entry.path for entry in manifest.entries} == mine
            for chunk, placed in FAMILY.replicas.items():
                rows = {
                    f.entry.path
                    for f in files
                    if f.entry.chunk == chunk and f.entry.role is not Role.INDEX
                }
                whole = chunk and worker in placed and rows <= mine
                assert (chunk in manifest.chunks) == bool(whole)
