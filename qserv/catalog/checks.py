"""What is checked of a cluster: facts in, findings out, nothing else."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from qserv.catalog.health import (
    BEHIND,
    DAY,
    Facts,
    Finding,
    Level,
    TableFacts,
    WorkerFacts,
)

SKEW: Final = 2.0
"""Seconds that clocks may differ before it is said."""
FULL: Final = 0.05
"""Part of a disk below which what it may still take is said to be little."""

_NAMED: Final = 3


def findings(facts: Facts) -> list[Finding]:
    """Check everything; at least one finding a check, in a fixed order."""
    checks = [*_CHECKS, *(_CHECKS_OF_RUNNING if facts.running else ())]
    return [finding for check in checks for finding in check(facts)]


def worst(found: Sequence[Finding]) -> Level:
    """Return the worst level of some findings."""
    levels = {finding.level for finding in found}
    ranked = (Level.PROBLEM, Level.WARNING)
    return next((level for level in ranked if level in levels), Level.OK)


def _metadata(facts: Facts) -> Iterator[Finding]:
    if facts.behind:
        yield Finding("metadata", Level.PROBLEM, facts.behind, BEHIND)
    elif not facts.metadata:
        yield Finding("metadata", Level.OK, f"whole ({facts.place})")
    for trouble in facts.metadata:
        yield Finding(
            "metadata",
            Level.PROBLEM,
            trouble,
            "qserv metadata restore BACKUP, or qserv metadata rebuild",
        )


def _workers(facts: Facts) -> Iterator[Finding]:
    silent = [w for w in facts.workers if not w.alive]
    for worker in silent:
        if facts.running:
            text = f"worker {worker.id} does not answer"
            remedy = (
                f"start it again; if its disk is lost: qserv placement lost {worker.id}"
            )
        else:
            text = f"worker {worker.id} has no directory here"
            remedy = "look for it on its own machine"
        level = Level.PROBLEM if facts.running else Level.WARNING
        yield Finding("workers", level, text, remedy)
    for worker in facts.workers:
        if worker.alive and worker.trouble:
            yield Finding(
                "workers",
                Level.PROBLEM,
                f"worker {worker.id} cannot be examined: {worker.trouble}",
                "see its log",
            )
    if not facts.workers:
        yield Finding(
            "workers", Level.WARNING, "there are none", "qserv worker --czar HOST:PORT"
        )
    elif len(facts.asked) == len(facts.workers):
        yield Finding("workers", Level.OK, f"{len(facts.workers)} answer")


def _versions(facts: Facts) -> Iterator[Finding]:
    others = [w for w in facts.asked if w.version != facts.version]
    for worker in others:
        yield Finding(
            "versions",
            Level.WARNING,
            f"worker {worker.id} is qserv {worker.version}, the czar {facts.version}",
            "install one version everywhere, and start the worker again",
        )
    if not others:
        yield Finding("versions", Level.OK, f"qserv {facts.version} everywhere")


def _clocks(facts: Facts) -> Iterator[Finding]:
    wrong = [w for w in facts.asked if abs(w.skew) > SKEW]
    for worker in wrong:
        way = "ahead of" if worker.skew > 0 else "behind"
        yield Finding(
            "clocks",
            Level.WARNING,
            f"worker {worker.id} is {abs(worker.skew):.0f} s {way} the czar",
            "let its machine keep time (chrony or systemd-timesyncd)",
        )
    if not wrong:
        yield Finding("clocks", Level.OK, f"agree to {SKEW:.0f} s")


def _disks(facts: Facts) -> Iterator[Finding]:
    full = [w for w in facts.asked if w.disk_free < FULL * w.disk_total]
    for worker in full:
        room = _bytes(worker.disk_free) if worker.disk_free else "nothing"
        yield Finding(
            "disks",
            Level.WARNING if worker.disk_free else Level.PROBLEM,
            f"worker {worker.id} may take {room} more: its disk of "
            f"{_bytes(worker.disk_total)} is full but for disk_reserve",
            "add a worker, or drop what is not needed",
        )
    if not full:
        free = min((w.disk_free for w in facts.asked), default=0)
        yield Finding("disks", Level.OK, f"{_bytes(free)} or more fit everywhere")


def _copies(facts: Facts) -> Iterator[Finding]:
    whole = True
    for table in facts.tables:
        short = sum(n for copies, n in table.copies.items() if copies < table.wanted)
        if lost := table.copies.get(0, 0):
            yield Finding(
                "copies",
                Level.PROBLEM,
                f"{table.name}: {lost} files have no good copy: {_some(table.lost)}",
                "start the workers that have them, or put the files back from an "
                f"archive, or drop {table.name} and load it again",
            )
        if short > lost:
            yield Finding(
                "copies",
                Level.WARNING,
                f"{table.name}: {short - lost} files have fewer than {table.wanted} "
                "copies",
                "they are copied while the cluster runs: qserv placement show",
            )
        whole &= not short
    if whole:
        files = sum(sum(t.copies.values()) for t in facts.tables)
        yield Finding("copies", Level.OK, f"{files} files, each as often as wanted")


def _damage(facts: Facts) -> Iterator[Finding]:
    hurt = [w for w in facts.asked if w.damaged_total]
    for worker in hurt:
        path, reason = worker.damaged[0]
        yield Finding(
            "damage",
            Level.WARNING,
            f"worker {worker.id} lacks {worker.damaged_total} files, such as {path}: "
            f"{reason}",
            "they are copied from other workers; if it happens again, replace the disk",
            # Where some are bad there may be more.
            scrub=worker.id,
        )
    if not hurt:
        yield Finding("damage", Level.OK, "no worker lacks a file")


def _manifests(facts: Facts) -> Iterator[Finding]:
    well = True
    for worker in facts.asked:
        for trouble in worker.bad:
            well = False
            yield Finding(
                "manifests",
                Level.PROBLEM,
                f"worker {worker.id}: {trouble}",
                "see to its disk and permissions; the czar sends manifests again",
            )
        for table in facts.tables:
            if trouble := _differs(worker, table):
                well = False
                yield Finding(
                    "manifests",
                    Level.WARNING,
                    f"worker {worker.id}, {table.name}: {trouble}",
                    "wait until it is repaired: qserv placement show",
                )
    if well:
        yield Finding("manifests", Level.OK, "workers hold what the metadata says")


def _differs(worker: WorkerFacts, table: TableFacts) -> str:
    if (wanted := table.lists.get(worker.id)) is None:
        return ""
    held = worker.lists.get((table.release, table.table))
    if held is None:
        return f"has no manifest of version {table.version}"
    version, content = held
    if version < table.version:
        return f"has version {version} of {table.version}"
    if version == table.version and content != wanted:
        return f"version {version} lists other files or chunks than the metadata"
    return ""


def _counts(facts: Facts) -> Iterator[Finding]:
    wrong = [t for t in facts.tables if t.rows != t.counted]
    for table in wrong:
        yield Finding(
            "counts",
            Level.PROBLEM,
            f"{table.name} has {table.rows} rows noted, {table.counted} in its files",
            "qserv metadata rebuild",
        )
    if not wrong:
        rows = sum(t.rows for t in facts.tables)
        yield Finding("counts", Level.OK, f"{rows} rows in {len(facts.tables)} tables")


def _indexes(facts: Facts) -> Iterator[Finding]:
    indexed = [t for t in facts.tables if t.indexed is not None]
    wrong = [t for t in indexed if t.indexed != t.rows]
    for table in wrong:
        yield Finding(
            "indexes",
            Level.PROBLEM,
            f"{table.name} has {table.rows} rows and {table.indexed} in its index",
            "load its rows again into a new release: keys may not be found",
        )
    if not wrong:
        yield Finding("indexes", Level.OK, f"{len(indexed)} have a row for each key")


def _overlaps(facts: Facts) -> Iterator[Finding]:
    wrong = [t for t in facts.tables if t.overlap is False]
    for table in wrong:
        yield Finding(
            "overlap",
            Level.PROBLEM,
            f"{table.name} stores no rows around its chunks",
            "load its rows again into a new release: pairs across borders are missed",
        )
    if not wrong:
        yield Finding("overlap", Level.OK, "is stored where it belongs")


def _loads(facts: Facts) -> Iterator[Finding]:
    left = [load for load in facts.loads if load.silent > load.lease]
    for load in left:
        yield Finding(
            "loads",
            Level.WARNING,
            f"load {load.id} of {load.release} was left {load.silent:.0f} s ago",
            f"give the same qserv load again to go on, or: qserv loads abort {load.id}",
        )
    for worker, count in sorted(facts.discards.items()):
        yield Finding(
            "loads",
            Level.WARNING,
            f"worker {worker} has yet to forget {count} aborted loads",
            "it does when it joins again",
        )
    if not left and not facts.discards:
        yield Finding("loads", Level.OK, f"{len(facts.loads)} under way, none is left")


def _scrubs(facts: Facts) -> Iterator[Finding]:
    well = True
    for worker in facts.asked:
        if trouble := _unscrubbed(worker):
            well = False
            yield Finding(
                "scrub",
                Level.WARNING,
                f"worker {worker.id}: {trouble}",
                f"qserv scrub --worker {worker.id}",
                scrub=worker.id if _unverified(worker) else "",
            )
    if well:
        yield Finding("scrub", Level.OK, "every file was verified lately, or soon will")


def _unverified(worker: WorkerFacts) -> bool:
    return worker.oldest > 2 * worker.verify_age


def _unscrubbed(worker: WorkerFacts) -> str:
    if _unverified(worker):
        return f"a file was not verified for {worker.oldest / DAY:.1f} days"
    if worker.files and not worker.scrub_rate:
        return "nothing is scrubbed in the background (scrub_bytes_per_second is 0)"
    needed = worker.size / worker.verify_age
    if worker.scrub_rate and needed > worker.scrub_rate:
        return (
            f"at {_bytes(worker.scrub_rate)}/s its {_bytes(worker.size)} take longer "
            f"than {worker.verify_age / DAY:.1f} days: set scrub_bytes_per_second to "
            f"{needed * 1.5:.0f}"
        )
    return ""


def _unknown(facts: Facts) -> Iterator[Finding]:
    extra = [w for w in facts.asked if w.unknown_total]
    for worker in extra:
        yield Finding(
            "files",
            Level.WARNING,
            f"worker {worker.id} has {worker.unknown_total} files that nothing names: "
            f"{_some(worker.unknown)}",
            "they are never read: a worker that starts removes what ended loads left",
        )
    if not extra:
        yield Finding("files", Level.OK, "none that nothing names")


_CHECKS: Final[tuple[Callable[[Facts], Iterator[Finding]], ...]] = (
    _metadata,
    _workers,
    _disks,
    _copies,
    _damage,
    _manifests,
    _counts,
    _indexes,
    _overlaps,
    _loads,
    _unknown,
)
_CHECKS_OF_RUNNING: Final[tuple[Callable[[Facts], Iterator[Finding]], ...]] = (
    _versions,
    _clocks,
    _scrubs,
)


def _some(names: Sequence[str]) -> str:
    more = ", …" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
