"""Tables in histories of any kind are what a plain model of their files says."""

import random
from contextlib import closing
from dataclasses import replace
from hashlib import sha256

import pytest
from support import metadata, recalled

from qserv.catalog import rebuild, storedrows, systemrows
from qserv.catalog.backends import SQLITE, backend
from qserv.catalog.database import Database
from qserv.catalog.provenance import Contribution
from qserv.catalog.publication import HeldFile
from qserv.catalog.replacing import Replaced, resolved
from qserv.catalog.store import Store
from qserv.catalog.system import CONTRIBUTIONS
from qserv.catalog.tables import Column, DataType

LAYOUT = metadata.family(replicas=2)
LIVE = [c for c in CONTRIBUTIONS.columns if c.name in {"number", "live"}]


class History:
    """Metadata, and what each snapshot of Object has: number -> values of `ra`."""

    def __init__(self, seed, place):
        self.random, self.place = random.Random(seed), place
        self.store = Store.open(place / "0")
        self.table, self.loads, self.number = metadata.OBJECT, 0, 0
        self.files, self.shown = None, {}

    def load(self, replaced=(), stay=None, kept=()):
        """Bring files, some without rows or with nothing but NULL."""
        fresh = {}
        for _ in range(self.random.randint(0 if kept else 1, 2)):
            self.number += 1
            values = self.random.choices([None, *range(9)], k=self.random.randint(0, 3))
            fresh[self.number] = values
        before = self.files or {}
        again = {number: before[number] for number in kept}
        self.publish(fresh, again | fresh, replaced)
        self.files = (before if stay is None else stay) | again | fresh

    def publish(self, fresh, held, replaced):
        self.loads += 1
        load, version = f"load-{self.loads}", self.store.snapshot().id + 1
        values = [value for each in held.values() for value in each]
        good = [value for value in values if value is not None]
        ends = (min(good), max(good)) if good else None
        entry = metadata.entry(f"{load}/4", 4, len(values), version=version, offset=0.0)
        file = HeldFile("Object", entry, frozenset(LAYOUT.replicas[4]))
        metadata.publish(
            self.store,
            load,
            layout=LAYOUT,
            tables=(self.table,),
            files=(file,) if values else (),
            contributions=[
                Contribution("Object", "f", content(number), len(each), 0, 0, 0, number)
                for number, each in fresh.items()
            ],
            bounds={"Object": {"ra": ends}} if values else {},
            replaces=replaced,
        )

    def resolved(self, *loads, kept=()):
        with self.store.reading() as connection:
            asked = Replaced("Object", loads, tuple(kept))
            return (resolved(connection, self.store.tables, "hip", asked),)

    def stored(self):
        with self.store.reading() as connection:
            return storedrows.stored_rows(
                connection, self.store.tables, "hip", "Object"
            )

    def replace(self):
        self.load(self.resolved(), stay={})

    def replace_files(self):
        """Some files of a load go, the others of it are read again."""
        if self.files:
            brought = self.stored().contributions
            load = self.random.choice(brought).load
            mine = [each.number for each in brought if each.load == load]
            kept = self.random.sample(mine, self.random.randint(0, len(mine)))
            stay = {n: v for n, v in self.files.items() if n not in mine}
            self.load(self.resolved(load, kept=kept), stay, kept)

    def add_column(self):
        if self.files:
            new = Column(f"c{self.loads}", DataType.INTEGER)
            self.table = replace(self.table, columns=(*self.table.columns, new))
            replaced = self.resolved(kept=self.files)
            self.publish({}, self.files, replaced)

    def drop(self):
        if self.files is not None:
            self.store.drop_tables("hip", ["Object"])
            self.files = None

    def lose_metadata(self):
        if self.shown:
            again = self.place / str(self.store.epoch)
            with closing(backend(again, SQLITE)) as target:
                assert not rebuild.rebuild(recalled.helds(self.store), target).lost
            self.store.close()
            self.store = Store(Database(backend(again, SQLITE)))

    def check(self):
        self.shown[self.store.snapshot().id] = self.files
        for number, files in self.shown.items():
            release = self.store.snapshot(number).releases.get("hip")
            table = release.tables.get("object") if release else None
            assert self.live(number) == set(files or ())
            assert (table is None) == (files is None)
            if table is not None:
                values = [value for each in files.values() for value in each]
                good = [value for value in values if value is not None]
                assert table.rows == table.statistics.rows.sum() == len(values)
                ends = {"ra": (min(good), max(good)) if good else None}
                assert table.bounds == (ends if values else {})
        if self.files is not None:
            self.check_stored()

    def live(self, snapshot):
        with self.store.reading() as connection:
            found = systemrows.rows(
                connection, self.store.tables, CONTRIBUTIONS.name, LIVE, snapshot
            )
            return {n for part in found for n, live in zip(*part, strict=True) if live}

    def check_stored(self):
        """The rows of each contribution are in files of the load that it names."""
        stored = self.stored()
        by_load = {}
        for each in stored.contributions:
            assert each.rows == len(self.files[each.number])
            by_load[each.load] = by_load.get(each.load, 0) + each.rows
        held = {file.load: file.entry.rows for file in stored.files}
        assert held == {load: rows for load, rows in by_load.items() if rows}
        assert self.store.snapshot().table("hip", "Object").table == self.table


def content(number):
    return sha256(str(number).encode()).hexdigest()


@pytest.mark.parametrize("seed", range(3))
def test_each_snapshot_shows_what_its_history_says(seed, tmp_path):
    history = History(seed, tmp_path)
    steps = {
        History.load: 3,
        History.replace_files: 4,
        History.replace: 1,
        History.add_column: 1,
        History.drop: 1,
        History.lose_metadata: 1,
    }
    try:
        for step in history.random.choices(list(steps), steps.values(), k=15):
            step(history)
            history.check()
    finally:
        history.store.close()
