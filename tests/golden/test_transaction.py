"""The golden files of the life of a load."""

from dataclasses import replace

import pytest
from golden.runner import Case, check, files

from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.errors import QservError
from qserv.ingest.events import (
    Abort,
    Commit,
    Contribute,
    Discard,
    Failed,
    Install,
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
from qserv.ingest.transaction import Transaction, fence, step


class Machine:
    """Turns cases into events and actions into text; keeps the load between cases."""

    def __init__(self):
        self.load = None

    def answer(self, case: Case) -> str:
        if case.command == "begin":
            tables = tuple(case.arguments["tables"].split(","))
            self.load = Transaction("t1", "hip", tables)
            return str(self.load.state)
        try:
            fence(self.load, int(case.arguments.pop("attempt", self.load.attempt)))
            self.load, actions = step(self.load, event(case))
        except QservError as error:
            return f"{type(error).__name__}: {error}"
        return "\n".join([str(self.load.state), *map(told, actions)])


def event(case: Case):
    match case.command:
        case "place":
            return placement(case.text, int(case.arguments.get("copies", 1)))
        case "resume":
            return Resume()
        case "contribute":
            return Contribute(tuple(map(staged, case.text.splitlines())))
        case "commit":
            return Commit({t: int(rows) for t, rows in case.arguments.items()})
        case "installed":
            return Installed(*case.flags)
        case "skipped":
            return Skipped(*case.flags)
        case "published":
            return Published(int(case.flags[0]))
        case _:
            ends = {"abort": Abort, "failed": Failed, "reopen": Reopen}
            return ends[case.command](case.arguments["reason"])


def placement(text: str, copies: int) -> Place:
    where = {"chunk": {}, "shard": {}, "everywhere": {}}
    for line in text.splitlines():
        what, workers = line.split(":")
        kind, number = (*what.split(), "0")[:2]
        where[kind][int(number)] = tuple(workers.split())
    return Place(where["chunk"], where["everywhere"].get(0, ()), where["shard"], copies)


def staged(line: str) -> StagedFile:
    """Read ``Object base 4 rows=10 on a b``."""
    what, on = line.split(" on ")
    table, role, chunk, rows = what.split()
    count = int(rows.removeprefix("rows="))
    entry = ManifestEntry(
        role=Role(role),
        chunk=int(chunk),
        path=f"{table}/{role}/{chunk}",
        rows=count,
        live_rows=count,
        size=100 * count,
        sha256="00" * 32,
    )
    return StagedFile(table, entry, frozenset(on.split()))


def told(action) -> str:
    match action:
        case Install(worker, shares):
            listed = (e.path for entries in shares.values() for e in entries)
            return f"install on {worker}: {' '.join(listed)}"
        case Publish(published):
            return f"publish {' '.join(map(held, published))}"
        case Discard(worker):
            return f"discard on {worker}"


def held(file) -> str:
    return f"{file.entry.path} ({' '.join(sorted(file.workers))})"


@pytest.mark.parametrize("path", files("transaction"), ids=lambda path: path.stem)
def test_golden(path, rewrite):
    check(path, Machine().answer, rewrite=rewrite)


def test_a_commit_without_the_count_would_lose_rows(monkeypatch):
    """The guarantee: without the comparison of rows a half load becomes visible."""
    load = Transaction("t1", "hip", ("Object",))
    load, _ = step(load, Place({4: ("a",)}, ("a",), {}))
    load, _ = step(load, Contribute((staged("Object base 4 rows=1 on a"),)))
    with pytest.raises(QservError, match="1 contributed rows, not 2"):
        step(load, Commit({"Object": 2}))
    monkeypatch.setattr(Transaction, "_miscounted", lambda self, rows: ())
    assert step(load, Commit({"Object": 2}))[0].state is State.COMMITTING


def test_step_leaves_the_load_as_it_was():
    load = Transaction("t1", "hip", ("Object",))
    before = replace(load)
    step(load, Place({4: ("a",)}, (), {}))
    assert load == before
