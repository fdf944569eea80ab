"""The life of a load under any order of events, of two loaders and failing workers."""

from dataclasses import replace

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.errors import Conflict, InvalidRequest
from qserv.ingest import transaction as life
from qserv.ingest.events import (
    Abort,
    Commit,
    Contribute,
    Discard,
    Failed,
    Installed,
    Place,
    Publish,
    Published,
    Reopen,
    Resume,
    Skipped,
    StagedFile,
    State,
)
from qserv.ingest.transaction import Transaction

WORKERS = ("a", "b", "c")
CHUNKS = (4, 5)
workers = st.sets(st.sampled_from(WORKERS), min_size=1)
pairs = st.sampled_from([("a", "b"), ("b", "c"), ("c", "a")])


class Life(RuleBasedStateMachine):
    """Two copies of everything; the world keeps what workers really hold."""

    def __init__(self):
        super().__init__()
        self.load = Transaction("t", "hip", ("Object",))
        self.shown = None
        self.discarded = set()
        self.touched = set()

    def step(self, event):
        try:
            self.load, actions = life.step(self.load, event)
        except (Conflict, InvalidRequest):
            return
        for action in actions:
            if isinstance(action, Publish):
                self.publish = action
            if isinstance(action, Discard):
                self.discarded.add(action.worker)

    @initialize(one=pairs, two=pairs)
    def first(self, one, two):
        self.place(one, two)

    @rule(one=pairs, two=pairs)
    def place(self, one, two):
        placed = Place(dict(zip(CHUNKS, (one, two), strict=True)), one, {}, 2)
        self.step(placed)

    @rule()
    def contribute_what_is_missing(self):
        for chunk, holders in self.load.chunks.items():
            self.contribute(chunk, set(holders))

    @rule(chunk=st.sampled_from(CHUNKS), holders=workers)
    def contribute(self, chunk, holders):
        entry = ManifestEntry(Role.BASE, chunk, f"p{chunk}", 10, 10, 1, "00")
        before = self.load
        self.step(Contribute((StagedFile("Object", entry, frozenset(holders)),)))
        if self.load is not before:
            self.touched |= holders

    @rule(rows=st.sampled_from([20, 20, 10]))
    def commit(self, rows):
        self.step(Commit({"Object": rows}))

    @rule(worker=st.sampled_from(WORKERS), good=st.booleans())
    def reported(self, worker, good):
        self.step(Installed(worker) if good else Skipped(worker))

    @rule(silent=st.none() | st.sampled_from(WORKERS))
    def all_reported(self, silent):
        for worker in WORKERS:
            self.reported(worker, worker != silent)

    @rule(silent=st.none() | st.sampled_from(WORKERS))
    def all_but_published(self, silent):
        self.contribute_what_is_missing()
        self.commit(20)
        self.all_reported(silent)

    @rule()
    def published(self):
        before = self.load.state
        self.step(Published(7))
        if before is not State.COMMITTED and self.load.state is State.COMMITTED:
            self.shown = self.load

    @rule()
    def resume(self):
        attempt = self.load.attempt
        self.step(Resume())
        assert self.load.attempt in {attempt, attempt + 1}

    @rule()
    def reopen(self):
        self.step(Reopen("not now"))

    @precondition(lambda self: self.load.attempt > 2)
    @rule(event=st.sampled_from([Abort("user"), Failed("disk")]))
    def end(self, event):
        self.step(event)

    @invariant()
    def what_is_shown_is_on_two_workers_and_stays(self):
        if self.shown is None:
            return
        assert self.load == self.shown
        assert {f.entry.rows for f in self.load.files.values()} == {10}
        assert not self.discarded
        for file in self.load.files.values():
            assert len(file.workers & self.load.installed) >= 2

    @invariant()
    def what_is_aborted_is_discarded_wherever_it_may_be(self):
        if self.load.state is State.ABORTED:
            assert self.touched <= self.discarded

    @invariant()
    def an_end_is_an_end(self):
        if self.load.over:
            for event in (Resume(), Commit({}), Contribute(()), Reopen("x")):
                before = replace(self.load)
                self.step(event)
                assert self.load == before


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_without_the_count_of_copies_one_disk_could_lose_rows(monkeypatch):
    """The guarantee: what is shown is on two workers, whichever failed."""
    monkeypatch.setattr(Transaction, "lacking", None)
    once = settings(TestLife.settings, max_examples=500, phases=[Phase.generate])
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Life, settings=once)


@pytest.mark.parametrize("remembered", [True, False])
def test_a_worker_that_was_replaced_is_told_to_forget(monkeypatch, remembered):
    """The guarantee: without `former` its files would lie there for ever."""
    if not remembered:
        placed = life._place
        monkeypatch.setattr(
            life, "_place", lambda *it: replace(placed(*it), former=frozenset())
        )
    load = Transaction("t", "hip", ("Object",))
    for workers_ in (("a", "b"), ("b", "c")):
        load, _ = life.step(load, Place({4: workers_}, workers_, {}, 2))
    _, actions = life.step(load, Abort("user"))
    assert (Discard("a") in actions) == remembered
