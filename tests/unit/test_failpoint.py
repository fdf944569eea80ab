"""A failpoint does nothing until it is armed, and then what it was told, once."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from qserv import failpoint

NAME = "worker.stage.synced"
OTHER = "worker.stage.settled"


@pytest.fixture(autouse=True)
def _disarmed():
    yield
    failpoint.arm("")


def run(spec, action):
    """Start a process that is armed and reaches the place three times."""
    program = (
        f"from qserv import failpoint; failpoint.arm({spec!r})\n"
        f"for n in range(3): failpoint.reached({NAME!r}); print(n, flush=True)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        return action(process)


def test_nothing_happens_unarmed():
    assert not failpoint.reached(NAME)
    assert failpoint.armed() == ""


@pytest.mark.parametrize(("time", "printed"), [("", 0), (":1", 0), (":3", 2)])
def test_the_process_is_killed_the_time_that_was_asked_for(time, printed):
    def ends(process):
        lines = process.stdout.read().split()
        return lines, process.wait()

    assert run(NAME + time, ends) == (list("012"[:printed]), -signal.SIGKILL)


def test_a_stopped_process_goes_on_when_it_is_told_to():
    def stopped(process):
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        return process.stdout.read().split(), process.wait()

    assert run(f"{NAME}:2=stop", stopped) == (["0", "1", "2"], 0)


@pytest.mark.parametrize("action", ["enospc", "eio"])
def test_a_broken_disk_is_an_oserror_once(action):
    failpoint.arm(f"{NAME}:2={action},{OTHER}:9")
    assert not failpoint.reached(NAME)
    with pytest.raises(OSError, match=NAME) as caught:
        failpoint.reached(NAME)
    assert caught.value.errno == getattr(errno, action.upper())
    assert not failpoint.reached(NAME)
    assert failpoint.waits(OTHER)


def test_a_disk_may_stay_broken():
    failpoint.arm(f"{NAME}:2+=eio")
    assert not failpoint.reached(NAME)
    for _ in range(3):
        with pytest.raises(OSError, match=NAME):
            failpoint.reached(NAME)


def test_another_process_is_armed_with_what_this_one_has():
    failpoint.arm(f"{NAME}:2=eio,{OTHER}")
    assert failpoint.armed() == f"{NAME}:2=eio,{OTHER}"
    failpoint.arm(OTHER)
    assert not failpoint.waits(NAME)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere", "no failpoint 'nowhere'"),
        (f"{NAME}=explode", "not 'explode'"),
        (f"{NAME}:0", "counts from 1"),
        (f"{NAME}:x", "counts from 1"),
    ],
)
def test_a_wrong_specification_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        failpoint.arm(spec)
