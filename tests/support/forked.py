"""Programs of qserv that are forked from a process which has imported it already.

Starting Python and importing qserv takes longer than a small load does. A template
process imports once; each program is a fork of it, confined to its directory before it
begins, and a child of whoever asked for it.
"""

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

SUBREAPER = 36
LONGEST = 2**17
DESCRIPTORS = 2


class Forked:
    """A running program; has the methods of `subprocess.Popen` that tests use.

    Parameters
    ----------
    pid
        Its process, a child of this one.
    stdout
        What it writes, where that is read.
    """

    def __init__(self, pid, stdout=None):
        self.pid = pid
        self.stdout = stdout
        self.returncode = None
        self._ended = os.pidfd_open(pid)

    def wait(self, timeout=None):
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            _, status = os.waitpid(self.pid, 0)
            os.close(self._ended)
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


class Template:
    """The process that has imported qserv.

    Parameters
    ----------
    base
        The directory below which each program has its own.
    """

    def __init__(self, base):
        # Who is forked twice over becomes a child of this process.
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
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
        body = json.dumps(request).encode()
        socket.send_fds(self._socket, [body], [output[1], errors.fileno()])
        os.close(output[1])
        pid = int(self._socket.recv(LONGEST))
        return Forked(pid, os.fdopen(output[0], "rb") if listened else None)

    def close(self):
        """End it; what it started goes on."""
        self._socket.close()
        self._process.wait()


def serve():
    """Fork a program for each request, until there are no more."""
    import confined
    import without

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


def become(request, files, confined, without):
    """Be the program that is asked for, and end with it."""
    from qserv.cli.main import main

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, each in enumerate(files, 1):
        os.dup2(each, number)
        os.close(each)
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
