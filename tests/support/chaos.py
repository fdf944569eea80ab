"""A cluster whose parts are armed, killed and started again, and who watches it."""

import json
import os
import random
import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import product
from pathlib import Path

from support.forked import Dead, Template
from support.processes import Program, until
from support.twoloads import PAIRS, ROWS

import qserv
from qserv.errors import ClusterError, QservError, UnknownName
from qserv.storage.layout import WorkerDirectory
from qserv.storage.manifests import ManifestStore

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "0"))
"""How often programs die at each point; 0, as in the whole suite: at some, once."""
SEED = int(os.environ.get("CHAOS_SEED", "1"))

WORKERS = ("worker-1", "worker-2", "worker-3")
LOADER = "loader"
CZAR = "czar"
DEADLINE = 90.0
"""Seconds that bound a hang; nothing is proven by how long something takes."""
SETTINGS = """\
# Who goes on with the load of a dead loader does not wait long for it.
load_lease = 0.5
join_interval = 0.3
dead_after = 3
# So little travels with a task that a join exchanges its rows by hash.
broadcast_memory = "1KiB"
# What did not work is tried again soon.
repair_interval = 2
"""
_PAUSE = 0.3


def turns(accidents=1, share=1.0):
    """Return the turns of a case, each with so many accidents at its point.

    Parameters
    ----------
    accidents
        In one turn.
    share
        Of the rounds, where other cases with that point have the rest.
    """
    return range(max(1, round(ROUNDS * share / accidents)))


def rounds(points, accidents=1, share=1.0):
    """Return points and turns: each point comes up before one comes up again."""
    return list(product(turns(accidents, share), points))


def some(cases, count):
    """Return all cases; in the whole suite only so many, spread evenly over them."""
    cases = list(cases)
    if ROUNDS or count >= len(cases):
        return cases
    first = random.Random(SEED).randrange(len(cases))
    chosen = (first + n * len(cases) // count for n in range(count))
    return sorted(cases[n % len(cases)] for n in chosen)


class Cluster:
    """One czar and three workers, each blind to the directories of the others.

    Parameters
    ----------
    base
        Where each program, the loader too, has a directory.
    """

    def __init__(self, base: Path):
        self.base = base
        self.programs: dict[str, Program] = {}
        self._armed: dict[str, tuple[str, int]] = {}
        self._loaded: set[tuple[str, ...]] = set()
        self._ports = dict.fromkeys((CZAR, *WORKERS), 0)
        for name in (CZAR, *WORKERS, LOADER, "logs"):
            (base / name).mkdir()
        self._template = Template(base)
        (base / CZAR / "czar.toml").write_text(SETTINGS)

    def start(self, name, without=""):
        """Start a part where it was; return without waiting."""
        arguments = [CZAR if name == CZAR else "worker"]
        arguments += ["--dir", self.base / name, "--port", self._ports[name]]
        if name != CZAR:
            arguments += ["--czar", self.endpoint]
        else:
            arguments += ["--config", self.base / CZAR / "czar.toml"]
        self._armed.pop(name, None)
        log = self.base / "logs" / f"{name}.log"
        with log.open("ab") as errors:
            process = self._template.start(
                self.base / name,
                arguments,
                errors=errors,
                listened=True,
                mechanism=without,
            )
        self.programs[name] = Program.of(process, log=log)

    def ready(self, name):
        """Wait until a part that was started serves; it keeps its port for ever."""
        endpoint = self.programs[name].ready()
        self._ports[name] = int(endpoint.rpartition(":")[2])
        if name == CZAR:
            self.endpoint = endpoint

    def __enter__(self):
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _begin(self):
        self.start(CZAR)
        self.ready(CZAR)
        for name in WORKERS:
            self.start(name)
        for name in WORKERS:
            self.ready(name)
        self.wait_whole()

    def __exit__(self, *_):
        for program in self.programs.values():
            program.process.kill()
            program.__exit__()
        self._template.close()

    def connect(self):
        """Return a new connection."""
        return qserv.connect(self.endpoint)

    def alive(self, name):
        """Say whether a part's process runs."""
        return self.programs[name].process.poll() is None

    def arm(self, name, spec):
        """Have a part that runs die, or meet a broken disk, at a place."""
        self._armed[name] = spec, self.fired(name)
        self.programs[name].process.arm(spec)

    def stop(self, name):
        """Kill a part."""
        program = self.programs[name]
        program.process.kill()
        program.__exit__()

    def restart(self, name, without=""):
        """Kill a part and start it again."""
        self.stop(name)
        self.start(name, without)
        self.ready(name)

    def clean(self):
        """Begin a case: whole, unarmed, without what dead loaders left."""
        self.revive()
        for left in (self.base / LOADER).iterdir():
            shutil.rmtree(left)

    def revive(self):
        """Start again what died, disarm what may yet die, wait for all."""
        while self._armed:
            self._disarm(*self._armed.popitem())
        for name in self.programs:
            if not self.alive(name):
                self.restart(name)
        self.wait_whole()

    def come_back(self, name):
        """Start again what died, or disarm it; others may yet have their accidents."""
        self._disarm(name, self._armed.pop(name))
        if not self.alive(name):
            self.restart(name)

    def _disarm(self, name, armed):
        spec, before = armed
        process = self.programs[name].process
        with suppress(Dead):
            process.arm("")
        # It says that it dies before it does.
        if self.fired(name) > before and "=" not in spec:
            process.wait(DEADLINE)

    def wait_whole(self):
        """Wait until the czar sees the workers where they now are."""
        expected = set(self.addresses())

        def whole():
            with suppress(ClusterError), self.connect() as db:
                workers = db.status().workers
                return expected <= {w.endpoint for w in workers if w.alive}
            return False

        until(whole, DEADLINE)

    def worker_id(self, name):
        """Return the id that a worker has in the cluster."""
        identity = WorkerDirectory(self.base / name).identity
        return json.loads(identity.read_bytes())["worker_id"]

    def loader(self, arguments, failpoint=""):
        """Start ``qserv load``, or what else loads, armed or not."""
        return self.command(LOADER, [*arguments, "--czar", self.endpoint], failpoint)

    def command(self, name, arguments, failpoint=""):
        """Start ``qserv ARGUMENTS…``, armed or not, where a part has its directory."""
        own = self.base / name
        changes = {"TMPDIR": str(own), "QSERV_FAILPOINT": failpoint}
        with (self.base / "logs" / f"{name}.log").open("ab") as errors:
            return self._template.start(
                own,
                arguments,
                errors=errors,
                env={name: value for name, value in changes.items() if value},
            )

    def load(self, arguments):
        """Load, once in a cluster's life."""
        words = tuple(map(str, arguments))
        if words not in self._loaded:
            assert self.loader(words).wait(DEADLINE) == 0, self.log_of(LOADER)
            self._loaded.add(words)

    def addresses(self):
        """Return where the workers answer."""
        return [f"127.0.0.1:{self._ports[name]}" for name in WORKERS]

    def fired(self, name):
        """Return how often failpoints of a program have fired."""
        log = self.base / "logs" / f"{name}.log"
        return log.read_text(errors="replace").count(" fires\n") if log.exists() else 0

    def log_of(self, name, lines=30):
        """Return the end of a log, for the message of a failure."""
        text = (self.base / "logs" / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def check(self, loads, release):
        """Assert that a release is what plain DuckDB says, twice, and nothing else."""
        self.check_rows(loads, release)
        copies = self.copies(release)
        assert copies
        assert {path for path, count in copies.items() if count < 2} == set()
        until(lambda: not self.leftovers() or print(self.leftovers()), 30)

    def check_rows(self, loads, release):
        """Assert that the rows of a release are what plain DuckDB says."""
        with self.connect() as db:
            for query in ROWS.values():
                found = db.query(query.format(release)).to_arrow().to_pylist()
                rows = sorted(tuple(row.values()) for row in found)
                assert rows == loads.answer(query, 2)
            (pairs,) = db.query(PAIRS.format(release)).to_arrow()["n"].to_pylist()
            assert pairs == loads.pairs(2)

    def leftovers(self):
        """Return what loads that are over have left behind, by directory."""
        found = {}
        if scratch := sorted(p.name for p in (self.base / LOADER).iterdir()):
            found[LOADER] = scratch
        for name in WORKERS:
            directory = WorkerDirectory(self.base / name)
            staged = [
                str(p.relative_to(directory.root)) for p in directory.staging.rglob("*")
            ]
            strays = self.files(name) - self.held(name).keys()
            if staged or strays:
                found[name] = sorted(staged) + sorted(strays)
        return found

    def files(self, name):
        """Return the paths of the data files on a worker's disk."""
        data = self.base / name / "data"
        found = (Path(root) / n for root, _, names in os.walk(data) for n in names)
        return {str(path.relative_to(data)) for path in found}

    def held(self, name):
        """Return the entries of a worker's manifests, by path."""
        manifests = ManifestStore(WorkerDirectory(self.base / name))
        return {e.path: e for h in manifests.readable() for e in h.manifest.entries}

    def copies(self, release):
        """Return how many good copies each file of a release has, by path."""
        found: dict[str, int] = {}
        for name in WORKERS:
            for path, entry in self.held(name).items():
                if path.startswith(f"{release}/"):
                    data = (self.base / name / "data" / path).read_bytes()
                    good = sha256(data).hexdigest() == entry.sha256
                    found[path] = found.get(path, 0) + good
        return found


@dataclass
class Watcher:
    """Asks all the time, in a thread, and notes each answer that is none of a state.

    Parameters
    ----------
    cluster
        Who is asked.
    queries
        Query -> the rows that it has in state 0, 1, 2 …; None: the release is unknown.
    """

    cluster: Cluster
    queries: dict[str, tuple]
    wrong: list[str] = field(default_factory=list)
    asked: int = 0
    refused: int = 0
    seen: set[int] = field(default_factory=set)
    floor: int = 0
    """The state that was acknowledged, or seen: no later answer may be older."""

    def __enter__(self):
        self._db = self.cluster.connect()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._db.close()

    def acknowledged(self, state):
        """Take note that a loader was told that its load is there."""
        self.floor = max(self.floor, state)

    def _watch(self):
        # A pause leaves the machine to those who are watched.
        while not self._stop.wait(_PAUSE):
            for query, states in self.queries.items():
                self._ask(query, states)

    def _ask(self, query, states):
        floor = self.floor
        try:
            rows = self._db.query(query, timeout=20).to_arrow().to_pylist()
            found = [tuple(row.values()) for row in rows]
        except UnknownName:
            found = None
        except ClusterError:
            self.refused += 1
            return
        except QservError as error:
            self.wrong.append(f"{query}: {error!r}")
            return
        self.asked += 1
        fitting = [n for n, state in enumerate(states) if state == found]
        if not fitting:
            self.wrong.append(f"{query}: {found} is of no state, {states}")
        elif fitting[-1] < floor:
            self.wrong.append(f"{query}: {found} after state {floor} was seen")
        else:
            self.seen.add(fitting[0])
            # A query that answers the same in two states proves the older one only.
            self.floor = max(self.floor, fitting[0])
