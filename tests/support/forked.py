"""Programs of qserv that are forked from a process which has imported it already.

Starting Python and importing qserv takes longer than a small load does. A template
process imports once; each program is a fork of it, confined to its directory before it
begins, and a child of whoever asked for it.
"""

import ctypes
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

SUBREAPER = 36
LONGEST = 2**17
DESCRIPTORS = 3


class Dead(Exception):
    """A process cannot be armed any more."""


class Forked:
    """A running program; has the methods of `subprocess.Popen` that tests use.

    Parameters
    ----------
    pid
        Its process, a child of this one.
    stdout
        What it writes, where that is read.
    control
        A socket over which it is armed.
    """

    def __init__(self, pid, stdout, control):
        self.pid = pid
        self.stdout = stdout
        self._control = control
        self.returncode = None
        self._ended = os.pidfd_open(pid)

    def wait(self, timeout=None):
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            _, status = os.waitpid(self.pid, 0)
            os.close(self._ended)
            self._control.close()
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def poll(self):
        if self.returncode is None and select.select([self._ended], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def arm(self, spec):
        """Arm it while it runs, or disarm it with nothing; it has done so then."""
        try:
            self._control.sendall(spec.encode() or b",")
            answer = self._control.recv(1)
        except OSError as error:
            raise Dead(self.pid) from error
        if not answer:
            raise Dead(self.pid)


class Template:
    """The process that has imported qserv.

    Parameters
    ----------
    base
        The directory below which each program has its own.
    """

    def __init__(self, base):
        self._base = base
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, __file__]
            self._process = subprocess.Popen(command, stdin=theirs)

    def start(self, own, arguments, *, errors, listened=False, mechanism="", env=None):
        """Start ``qserv ARGUMENTS…`` that sees only its own directory.

        Parameters
        ----------
        own
            Its directory; it works in it.
        arguments
            Of ``qserv``.
        errors
            Open file for its standard error.
        listened
            Whether its standard output is read.
        mechanism
            One of `support.without` that it has not.
        env
            More for its environment.
        """
        request = {
            "base": str(self._base),
            "own": str(own),
            "argv": ["qserv", *map(str, arguments)],
            "mechanism": mechanism,
            "env": os.environ | (env or {}),
        }
        output = os.pipe() if listened else (None, os.open(os.devnull, os.O_WRONLY))
        # Who is forked twice over becomes a child of this process.
        self._adopt(True)
        body = json.dumps(request).encode()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        files = [output[1], errors.fileno(), theirs.detach()]
        socket.send_fds(self._socket, [body], files)
        for each in files[::2]:
            os.close(each)
        pid = int(self._socket.recv(LONGEST))
        return Forked(pid, os.fdopen(output[0], "rb") if listened else None, ours)

    def _adopt(self, wanted):
        ctypes.CDLL(None).prctl(SUBREAPER, int(wanted), 0, 0, 0)

    def close(self):
        """End it, when what it started has ended."""
        self._adopt(False)
        self._socket.close()
        self._process.wait()


HEAVY = (
    "healpy",
    "qserv.cli.main",
    "qserv.faces.rpc.program",
    "qserv.ingest.job",
    "qserv.ingest.loader",
    "qserv.ingest.schema",
    "qserv.worker.program",
)
"""What the programs import, early or late."""


def serve():
    """Fork a program for each request, until there are no more."""
    import confined
    import without

    for module in HEAVY:
        importlib.import_module(module)
    requests = socket.socket(fileno=os.dup(0))
    while True:
        body, files, *_ = socket.recv_fds(requests, LONGEST, DESCRIPTORS)
        if not body:
            return
        told, tell = os.pipe()
        if (between := os.fork()) == 0:
            if (pid := os.fork()) == 0:
                requests.close()
                become(json.loads(body), files, confined, without)
            os.write(tell, str(pid).encode())
            os._exit(0)
        os.waitpid(between, 0)
        requests.send(os.read(told, 32))
        for each in (told, tell, *files):
            os.close(each)


def obey(control):
    """Arm this process as it is told to."""
    from qserv import failpoint

    with control:
        while spec := control.recv(LONGEST):
            failpoint.arm(spec.decode().strip(","))
            control.sendall(b"!")


def become(request, files, confined, without):
    """Be the program that is asked for, and end with it."""
    from qserv import failpoint
    from qserv.cli.main import main

    failpoint.arm(request["env"].get("QSERV_FAILPOINT", ""))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    *streams, control = files
    for number, each in enumerate(streams, 1):
        os.dup2(each, number)
        os.close(each)
    orders = socket.socket(fileno=control)
    threading.Thread(target=obey, args=[orders], daemon=True).start()
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["own"])
    confined.confine(Path(request["base"]), Path(request["own"]))
    if request["mechanism"]:
        without.MECHANISMS[request["mechanism"]]()
    sys.argv = request["argv"]
    status = 1
    try:
        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
