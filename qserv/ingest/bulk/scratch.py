"""Where a load keeps what its tasks have made, and which of them are done."""

import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

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

    def file(self, name: str) -> Path:
        """Return where a file lies."""
        return self.root / name

    def fresh(self, name: str) -> Path:
        """Return a name for a file that is being written: no two tries share one."""
        return self.root / f"{name}.{uuid4().hex}.part"

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
