"""Loading beside DuckDB and hats-import on the same rows: part of ``make bench``.

    python tests/bench/loading.py                 200,000 objects, 800,000 sources
    python tests/bench/loading.py --full          10 million and 40 million
    python tests/bench/loading.py --full --turns 5
    python tests/bench/loading.py --objects 1000000 --grow 10
    python tests/bench/loading.py --hats          with hats-import, from PyPI
    python tests/bench/loading.py --hats-python /some/venv/bin/python

Everything reads the same Parquet files (`crowded.py`; kept in ``.stamps/bench``), which
were read once before, with two cores, in one run:

- DuckDB: ``COPY (SELECT * FROM files ORDER BY objectId) TO parquet`` of both tables,
  two threads, two gigabytes, snappy. It neither checks a row nor syncs a file; it
  computes no pixel, no unit vector, no overlap and no index. That is the yardstick.
- qserv: ``db.load`` of both tables at once into three workers on this machine, with one
  and with two copies: checked, partitioned, with overlap, index and unit vectors, each
  file synced and read back by its workers, visible at the end.
- hats-import: both tables as catalogs of their own, one after the other, on two Dask
  workers of one thread; without the margin and without an index, which it makes in
  further runs. It gets an environment of its own (``.stamps/hats``), made by pip.

Machines are noisy: what counts are the ratios of one run. With ``--turns`` each takes
its turn so many times; told are the medians, the ratio of each turn to the DuckDB of
the same turn, and in brackets the least and the greatest. ``--grow 10`` loads a tenth
first, so that the peak memory of the loader's processes can be compared: what a process
has of its own (``RssAnon``, the peak of the largest and the peak of all together), and
beside it ``VmHWM``, in which mapped files count that the system may drop at any time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import crowded
import duckdb
from rich.console import Console
from rich.table import Table

import qserv
from qserv.client.loading import LoadProgress
from qserv.local.cluster import LocalConnection

WORKERS = 3
MEMORY = "2GB"
PROMISED = {1: ">= 0.5x", 2: ">= 0.35x"}
"""Copies -> what a load shall reach of DuckDB's speed."""
STAMPS = Path(__file__).parents[2] / ".stamps"
HATS = (
    "hats-import>=0.11,<0.12",
    "dask>=2025.3,<2025.4",
    "distributed>=2025.3,<2025.4",
)
MIB = 2**20
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Usage:
    """What the processes of a program have used, sampled until it ends."""

    peaks: dict[int, int] = field(default_factory=dict)
    own: dict[int, int] = field(default_factory=dict)
    ticks: dict[int, int] = field(default_factory=dict)
    most_at_once: int = 0

    def sample(self, pids: Iterator[int]) -> None:
        """Look at the processes once; one that is gone keeps its last figures."""
        now = 0
        for pid in pids:
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            held = dict(line.split(":", 1) for line in status.splitlines())
            if "VmHWM" not in held:
                continue
            self.peaks[pid] = int(held["VmHWM"].split()[0]) * 1024
            own = int(held["RssAnon"].split()[0]) * 1024
            self.own[pid] = max(own, self.own.get(pid, 0))
            now += own
            self.ticks[pid] = int(times[11]) + int(times[12])
        self.most_at_once = max(self.most_at_once, now)

    @property
    def seconds(self) -> float:
        """Seconds of a processor."""
        return sum(self.ticks.values()) / TICKS


def tree(pid: int) -> Iterator[int]:
    """Yield a process and all that it started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from tree(int(child))


@contextmanager
def watched(pid: int) -> Iterator[Usage]:
    """Sample a process and its children in the block."""
    usage, stop = Usage(), threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            usage.sample(tree(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield usage
    finally:
        stop.set()
        thread.join()


@dataclass(frozen=True)
class Loaded:
    """One load of ours."""

    seconds: float
    phases: dict[str, float]
    size: int
    loader: Usage
    servers: float

    @property
    def commit(self) -> float:
        """Seconds from the last file sent to visible."""
        return self.phases.get("committing", 0.0)


def load_here(endpoint: str, files: dict[str, list[str]], sidecar: str, r: int) -> None:
    """Load, in a process of its own, and print what happened as JSON."""
    began: dict[str, float] = {}

    def listen(progress: LoadProgress) -> None:
        began.setdefault(str(progress.phase), progress.elapsed)

    with qserv.connect(endpoint) as db:
        start = time.perf_counter()
        report = db.load("crowded", files, sidecar=sidecar, replicas=r, progress=listen)
        seconds = time.perf_counter() - start
    ends = [*list(began.values())[1:], seconds]
    phases = {p: e - b for (p, b), e in zip(began.items(), ends, strict=True)}
    print(json.dumps({"seconds": seconds, "phases": phases, "size": report.size}))


def load(files: dict[str, list[Path]], scratch: Path, replicas: int) -> Loaded:
    """Load into a new cluster and throw it away."""
    names = {table: list(map(str, paths)) for table, paths in files.items()}
    sidecar = str(crowded.sidecar(files))
    with (
        tempfile.TemporaryDirectory(dir=scratch) as place,
        qserv.LocalCluster(WORKERS, place) as db,
    ):
        before = used(db)
        told = json.dumps([db.cluster.endpoint, names, sidecar, replicas])
        command = [sys.executable, __file__, "--load-here", told]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE) as process,
            watched(process.pid) as usage,
        ):
            assert process.stdout is not None
            said = process.stdout.read()
        if process.returncode:
            raise SystemExit("the load failed")
        servers = used(db) - before
    return Loaded(**json.loads(said), loader=usage, servers=servers)


def used(db: LocalConnection) -> float:
    """Return the seconds of a processor that czar and workers have used so far."""
    usage = Usage()
    for pid in db.cluster.processes.values():
        usage.sample(tree(pid))
    return usage.seconds


def copy(files: dict[str, list[Path]], scratch: Path) -> tuple[float, float]:
    """Let DuckDB sort each table into one file; return seconds, and processor's."""
    start, before = time.perf_counter(), time.process_time()
    for paths in files.values():
        with tempfile.TemporaryDirectory(dir=scratch) as place:
            settings = {"threads": 2, "memory_limit": MEMORY, "temp_directory": place}
            with duckdb.connect(config=settings) as plain:
                plain.execute(
                    f"COPY (FROM read_parquet({list(map(str, paths))}) "
                    f"ORDER BY objectId) TO '{place}/sorted.parquet' "
                    "(FORMAT parquet, COMPRESSION snappy)"
                )
    return time.perf_counter() - start, time.process_time() - before


def hats(python: Path, files: dict[str, list[Path]], scratch: Path) -> dict[str, float]:
    """Let hats-import make a catalog of each table; return seconds by table."""
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        out = Path(place) / "out"
        out.mkdir()
        words = [f"{table}={','.join(map(str, p))}" for table, p in files.items()]
        side = Path(__file__).with_name("hats_side.py")
        # Its environment is its own: nothing of ours is to be seen from it.
        said = subprocess.run(
            [python, "-I", side, place, out, *words],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        )
    return json.loads(said.stdout.splitlines()[-1])


def hats_python() -> Path:
    """Return the Python of an environment with hats-import, made where it is not."""
    place = STAMPS / "hats"
    python = place / "bin" / "python"
    if not (place / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *HATS], check=True)
        (place / "done").touch()
    return python


def warm(files: dict[str, list[Path]]) -> int:
    """Read everything once; return its bytes."""
    return sum(len(path.read_bytes()) for paths in files.values() for path in paths)


def measure(asked: argparse.Namespace, objects: int, out: Table) -> None:
    """Measure all at one size, in turns, and add rows to the report."""
    files = crowded.make(STAMPS / "bench", objects)
    rows = objects * (1 + crowded.SOURCES_AN_OBJECT)
    size = warm(files)
    plain: list[tuple[float, float]] = []
    ours: dict[int, list[Loaded]] = {replicas: [] for replicas in PROMISED}
    for _ in range(asked.turns):
        plain.append(copy(files, asked.scratch))
        for replicas, turns in ours.items():
            turns.append(load(files, asked.scratch, replicas))
    beside = [seconds for seconds, _ in plain]
    name = f"{rows / 1e6:g} M rows, {size / MIB:,.0f} MiB"
    figures = _figures(beside, rows, beside)
    cpu = statistics.median(cpu for _, cpu in plain)
    out.add_row(name, "DuckDB COPY ORDER BY", *figures, "", "", "", "", f"{cpu:.1f}")
    for replicas, turns in ours.items():
        _add(out, f"qserv, R={replicas}", rows, turns, beside, PROMISED[replicas])
    if asked.python is not None:
        theirs = sum(hats(asked.python, files, asked.scratch).values())
        figures = _figures([theirs], rows, beside[-1:])
        out.add_row("", "hats-import", *figures, "", "", "", "", "", "a fifth of ours")


def _add(
    out: Table,
    name: str,
    rows: int,
    turns: Sequence[Loaded],
    beside: Sequence[float],
    promised: str,
) -> None:
    """Add what our loads took, and of the median one each phase."""
    median = sorted(turns, key=lambda one: one.seconds)[len(turns) // 2]
    own = max(max(one.loader.own.values()) for one in turns)
    peak = max(max(one.loader.peaks.values()) for one in turns)
    most = max(one.loader.most_at_once for one in turns)
    memory = [f"{m / MIB:,.0f}" for m in (own, most, peak)]
    spent = f"{median.loader.seconds:.1f} + {median.servers:.1f}"
    figures = _figures([one.seconds for one in turns], rows, beside)
    out.add_row("", name, *figures, *memory, f"{median.commit:.2f}", spent, promised)
    for phase, seconds in median.phases.items():
        out.add_row("", f"  {phase}", f"{seconds:.1f}")


def _figures(
    turns: Sequence[float], rows: int, beside: Sequence[float]
) -> tuple[str, str, str]:
    """Return the median of seconds, rows a second, and ratios turn by turn."""
    seconds = statistics.median(turns)
    ratios = [plain / ours for ours, plain in zip(turns, beside, strict=True)]
    spread = f" ({min(ratios):.2f}-{max(ratios):.2f})" if len(set(ratios)) > 1 else ""
    ratio = f"{statistics.median(ratios):.2f}x{spread}"
    return f"{seconds:.1f}", f"{rows / seconds / 1e6:.2f}", ratio


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--objects", type=int, default=200_000)
    size.add_argument("--full", action="store_true", help="10 million objects")
    parser.add_argument("--turns", type=int, default=1, help="how often each")
    parser.add_argument("--grow", type=int, help="first a so many times smaller load")
    parser.add_argument("--scratch", type=Path, help="where clusters lie meanwhile")
    parser.add_argument("--hats", action="store_true", help="also hats-import")
    parser.add_argument("--hats-python", type=Path, help="Python that has hats-import")
    parser.add_argument("--load-here", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main() -> None:
    """Run it and print the table."""
    asked = arguments()
    if asked.load_here:
        load_here(*json.loads(asked.load_here))
        return
    objects = 10_000_000 if asked.full else asked.objects
    asked.python = asked.hats_python or (hats_python() if asked.hats else None)
    heads = ("input", "what", "s", "M rows/s", "of DuckDB")
    more = ("own MiB", "all MiB", "VmHWM MiB", "commit s", "CPU s", "promised")
    out = Table(*heads, *more)
    sizes = [objects // asked.grow, objects] if asked.grow else [objects]
    for each in sizes:
        measure(asked, each, out)
    Console(width=140).print(out)


if __name__ == "__main__":
    main()
