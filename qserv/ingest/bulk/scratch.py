"""Where a load keeps what its tasks have made, and which of them are done."""

import errno
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from qserv import failpoint

Result = TypeVar("Result")

_DONE: Final = ".done"


@dataclass(frozen=True, slots=True)
class Scratch:
    """A directory of one load, in which every task has a name.

    Parameters
    ----------
    root
        The directory; seen under this path by all processes of the load.
    """

    root: Path

    def make(self) -> None:
        """Make the directory, or take the one that an earlier try left.

        Raises
        ------
        OSError
            If it cannot be made, or belongs to somebody else: notes of tasks run code
            when they are read.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.root.stat().st_uid != os.getuid():
            raise PermissionError(errno.EPERM, f"{self.root} is somebody else's")

    def file(self, name: str) -> Path:
        """Return where a file lies."""
        return self.root / name

    def fresh(self, name: str) -> Path:
        """Return a name for a file that is being written: no two tries share one."""
        return self.root / f"{name}.{uuid4().hex}.part"

    def save(self, name: str, values: npt.NDArray[np.int64]) -> Path:
        """Save an array; whoever reads it finds all of it."""
        part, path = self.fresh(name), self.file(name)
        with part.open("wb") as file:
            np.save(file, values)
        part.replace(path)
        return path

    def once(self, name: str, make: Callable[[], Result]) -> Result:
        """Return what a task made, now or before.

        Parameters
        ----------
        name
            Of the task; files that it makes begin with it.
        make
            Does it; what it returns is remembered.
        """
        done = self.file(name + _DONE)
        if done.exists():
            found: Result = pickle.loads(done.read_bytes())  # noqa: S301 our own file
            return found
        made = make()
        self._keep(done, made)
        return made

    def _keep(self, done: Path, made: Any) -> None:
        part = self.fresh(done.name)
        part.write_bytes(pickle.dumps(made))
        # The name appears when all of it is there: a task is done or it is not.
        part.replace(done)
        failpoint.reached("loader.task.done")

    def remove(self) -> None:
        """Remove all."""
        shutil.rmtree(self.root, ignore_errors=True)
