"""Facts in, findings out: each fault is found, named, and has a remedy."""

import re
from dataclasses import replace

import click
import pytest

from qserv.catalog.checks import findings, worst
from qserv.catalog.health import DAY, Facts, Level, LoadFacts, TableFacts, WorkerFacts
from qserv.cli.main import main

LISTS = {("dr1", "Object"): (7, b"all")}
WORKER = WorkerFacts(
    "w1",
    alive=True,
    version="1.0",
    disk_free=800 * 10**9,
    disk_total=10**12,
    files=10,
    size=10**9,
    scrub_rate=20 * 2**20,
    lists=LISTS,
)
TABLE = TableFacts(
    release="dr1",
    table="Object",
    version=7,
    rows=100,
    counted=100,
    indexed=100,
    overlap=True,
    copies={2: 10},
    wanted=2,
    lists={"w1": b"all", "w2": b"all"},
)
WELL = Facts(
    running=True,
    version="1.0",
    place="sqlite",
    workers=(WORKER, replace(WORKER, id="w2")),
    tables=(TABLE,),
    loads=(LoadFacts("l-1", "dr1", 3.0, 30.0),),
)
CHECKS = [
    "metadata",
    "workers",
    "disks",
    "copies",
    "damage",
    "manifests",
    "counts",
    "indexes",
    "overlap",
    "loads",
    "files",
    "versions",
    "clocks",
    "scrub",
]


def with_worker(**changes):
    return replace(WELL, workers=(replace(WORKER, **changes), WELL.workers[1]))


def with_table(**changes):
    return replace(WELL, tables=(replace(TABLE, **changes),))


FAULTS = {
    "metadata": (
        replace(WELL, metadata=("the database is damaged: row 3 missing",)),
        "problem: the database is damaged: row 3 missing",
    ),
    "worker is silent": (
        with_worker(alive=False),
        "problem: worker w1 does not answer",
    ),
    "worker is in trouble": (
        with_worker(trouble="no memory"),
        "problem: worker w1 cannot be examined: no memory",
    ),
    "no workers": (replace(WELL, workers=(), tables=()), "warning: there are none"),
    "another version": (
        with_worker(version="0.9"),
        "warning: worker w1 is qserv 0.9, the czar 1.0",
    ),
    "clock ahead": (with_worker(skew=7.0), "warning: worker w1 is 7 s ahead of"),
    "clock behind": (with_worker(skew=-7.0), "warning: worker w1 is 7 s behind"),
    "full disk": (
        with_worker(disk_free=0),
        "problem: worker w1 may take nothing more: its disk of 1.0 TB is full but for",
    ),
    "nearly full disk": (
        with_worker(disk_free=10**9),
        "warning: worker w1 may take 1 GB more: its disk of 1.0 TB",
    ),
    "lost": (
        with_table(copies={0: 1, 2: 9}, lost=("dr1/Object/a.parquet",)),
        "problem: dr1.Object: 1 files have no good copy: dr1/Object/a.parquet",
    ),
    "one copy": (
        with_table(copies={1: 4, 2: 6}),
        "warning: dr1.Object: 4 files have fewer than 2 copies",
    ),
    "damage": (
        with_worker(damaged=(("a.parquet", "it is missing"),), damaged_total=3),
        "warning: worker w1 lacks 3 files, such as a.parquet: it is missing",
    ),
    "manifest is bad": (
        with_worker(bad=("manifest 7 is bad",)),
        "problem: worker w1: manifest 7 is bad",
    ),
    "no manifest": (
        with_worker(lists={}),
        "warning: worker w1, dr1.Object: has no manifest of version 7",
    ),
    "old manifest": (
        with_worker(lists={("dr1", "Object"): (6, b"all")}),
        "warning: worker w1, dr1.Object: has version 6 of 7",
    ),
    "another manifest": (
        with_worker(lists={("dr1", "Object"): (7, b"some")}),
        "warning: worker w1, dr1.Object: version 7 lists other files or chunks",
    ),
    "counts": (
        with_table(counted=99),
        "problem: dr1.Object has 100 rows noted, 99 in its files",
    ),
    "index": (
        with_table(indexed=99),
        "problem: dr1.Object has 100 rows and 99 in its index",
    ),
    "overlap": (
        with_table(overlap=False),
        "problem: dr1.Object stores no rows around its chunks",
    ),
    "load": (
        replace(WELL, loads=(LoadFacts("l-1", "dr1", 50.0, 30.0),)),
        "warning: load l-1 of dr1 was left 50 s ago",
    ),
    "discard": (
        replace(WELL, discards={"w1": 2}),
        "warning: worker w1 has yet to forget 2 aborted loads",
    ),
    "scrub is late": (
        with_worker(oldest=20 * DAY),
        "warning: worker w1: a file was not verified for 20.0 days",
    ),
    "scrub is off": (
        with_worker(scrub_rate=0),
        "warning: worker w1: nothing is scrubbed in the background",
    ),
    "scrub is slow": (
        with_worker(size=10**14),
        "warning: worker w1: at 21 MB/s its 100.0 TB take longer than 7.0 days",
    ),
    "unknown": (
        with_worker(unknown=("a", "b", "c", "d"), unknown_total=9),
        "warning: worker w1 has 9 files that nothing names: a, b, c, …",
    ),
}


def test_a_cluster_that_is_well_has_one_line_a_check():
    found = findings(WELL)
    assert [finding.check for finding in found] == CHECKS
    assert {finding.level for finding in found} == {Level.OK}
    assert not any(finding.remedy for finding in found)
    assert worst(found) is Level.OK


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_has_a_remedy(fault):
    facts, told = FAULTS[fault]
    found = [f for f in findings(facts) if f.level is not Level.OK]
    (finding,) = found
    assert f"{finding.level}: {finding.text}".startswith(told)
    assert finding.remedy
    assert bool(finding.scrub) is (fault in {"damage", "scrub is late"})
    assert worst(findings(facts)) is finding.level


def test_of_a_cluster_that_is_stopped_nothing_is_said_that_is_not_known():
    found = findings(replace(WELL, running=False))
    assert {f.check for f in found} == {*CHECKS} - {"versions", "clocks", "scrub"}


def commands(text):
    """Yield the commands of qserv that a text names."""
    for words in re.findall(r"qserv ((?:[a-z]+ ?)+)", text):
        yield words.split()


@pytest.mark.parametrize("fault", FAULTS)
def test_remedies_are_commands_that_exist(fault):
    for finding in findings(FAULTS[fault][0]):
        for verb, *more in commands(finding.remedy):
            command = main.commands[verb]
            if isinstance(command, click.Group):
                assert more[0] in command.commands
