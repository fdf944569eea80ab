"""A disk that forgets, when the power fails, whatever was not synced."""

import os
import shutil
from contextlib import contextmanager
from itertools import count
from pathlib import Path

LINK = os.link


class Disk:
    """Notes each change of a name, and how to undo it until its directory is synced.

    Content counts as written where its file was synced, or was there at the beginning.
    """

    def __init__(self, root: Path, beside: Path) -> None:
        beside.mkdir()
        self._root = root
        self._saved = (beside / str(number) for number in count())
        self._pending = []
        self._synced = {p.stat().st_ino for p in root.rglob("*")}

    @contextmanager
    def watched(self, monkeypatch):
        """Note what happens in the block."""
        with monkeypatch.context() as patch:
            for name in ("link", "mkdir", "replace", "rename", "unlink", "rmdir"):
                noted = self._noted(getattr(os, name), getattr(self, f"_{name}"))
                patch.setattr(os, name, noted)
            patch.setattr(os, "fsync", self._fsync(os.fsync))
            yield

    def fail(self) -> None:
        """Forget what was not synced, the newest first."""
        for _, undo in reversed(self._pending):
            undo()
        self._pending.clear()
        for path in self._root.rglob("*"):
            if path.is_file() and path.stat().st_ino not in self._synced:
                path.write_bytes(b"")

    def _noted(self, real, how):
        def change(*paths, dir_fd=None, **more):
            there = Path(f"/proc/self/fd/{dir_fd}").readlink() if dir_fd else Path()
            named = [path for path in paths if isinstance(path, str | Path)]
            whole = [there / path for path in named]
            undo = how(*whole)
            real(*paths, **({"dir_fd": dir_fd} if dir_fd else {}), **more)
            # A link leaves the directory of its other name as it is.
            changed = whole[1:] if real is LINK else whole
            self._pending.append(({path.parent for path in changed}, undo))

        return change

    def _fsync(self, real):
        def fsync(descriptor):
            real(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            self._synced.add(os.fstat(descriptor).st_ino)
            for directories, _ in self._pending:
                directories.discard(path)
            self._pending = [each for each in self._pending if each[0]]

        return fsync

    def _kept(self, path):
        """Keep a file that is about to lose its name; return how it gets it back."""
        if not path.exists():
            return lambda: None
        saved = next(self._saved)
        shutil.copy2(path, saved)
        known = path.stat().st_ino in self._synced

        def back():
            if not path.parent.is_dir():
                return  # its directory is gone for good
            path.unlink(missing_ok=True)
            shutil.copy2(saved, path)
            if known:
                self._synced.add(path.stat().st_ino)

        return back

    def _link(self, _, new):
        return lambda: new.unlink(missing_ok=True)

    def _mkdir(self, path):
        return lambda: shutil.rmtree(path, ignore_errors=True)

    def _unlink(self, path):
        return self._kept(path)

    def _rmdir(self, path):
        return lambda: path.mkdir(parents=True, exist_ok=True)

    def _replace(self, old, new):
        source, target = self._kept(old), self._kept(new)

        def back():
            new.unlink(missing_ok=True)
            source()
            target()

        return back

    _rename = _replace
