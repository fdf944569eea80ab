"""What a worker remembers of its cluster's metadata, should that be lost.

The czar sends a checkpoint of it whenever it has changed. The newest two are kept, each
with all of its parts; a crash leaves the older one.
"""

import json
import zlib
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Final

from qserv.catalog.checkpoint import Checkpoint, decode
from qserv.errors import Conflict, CorruptData, InvalidRequest
from qserv.storage.durable import make_directory, write_file
from qserv.storage.layout import WorkerDirectory
from qserv.telemetry import logger

_KEPT: Final = 2

_log = logger(__name__)


class Remembered:
    """The checkpoints of one worker.

    Parameters
    ----------
    directory
        The worker's.

    Notes
    -----
    Reads may come from any thread, changes from one at a time.
    """

    def __init__(self, directory: WorkerDirectory) -> None:
        self._directory = directory.catalog
        self._parts = directory.catalog / "parts"
        self._told: tuple[tuple[int, int] | None, int] = None, 0
        self._sound: set[str] = set()

    def remember(self, text: bytes, parts: Iterable[bytes]) -> tuple[str, ...]:
        """Keep a checkpoint once all of its parts are there.

        Parameters
        ----------
        text
            The checkpoint.
        parts
            Some of its parts, compressed.

        Returns
        -------
        tuple
            The sha256 of those that are missing; if none is, it is kept durably.

        Raises
        ------
        Conflict
            If a newer one is kept: a czar that was replaced sent this.
        CorruptData
            If the checkpoint or a part is damaged.
        """
        checkpoint = decode(text, "the catalog that the czar sent")
        newest = self.newest()
        if newest is not None and newest.age > checkpoint.age:
            raise Conflict(
                f"the catalog of epoch {checkpoint.epoch} is older than the one that "
                f"this worker has, of epoch {newest.epoch}: its czar was replaced"
            )
        known = {part.sha256: part for part in checkpoint.parts}
        for part in parts:
            self._keep(part, known.keys())
        # What rotted is asked for again, not taken for what it was.
        self._sound |= {n for n in known if n not in self._sound and self._is_sound(n)}
        if missing := tuple(n for n in known if n not in self._sound):
            return missing
        write_file(self._path(checkpoint), text)
        self._forget_older()
        return ()

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is not damaged, or None."""
        return next(filter(None, map(_read, self._paths())), None)

    def snapshot(self) -> int:
        """Return the newest snapshot that the newest checkpoint has; 0 for none."""
        newest = self.newest()
        age = newest.age if newest else None
        if age != self._told[0]:
            self._told = age, self._snapshot(newest)
        return self._told[1]

    def _snapshot(self, checkpoint: Checkpoint | None) -> int:
        parts = checkpoint.parts if checkpoint else ()
        # Rows come in the order of their numbers.
        last = [part.sha256 for part in parts if part.table == "snapshot"][-1:]
        try:
            return max((_number(self.text(name)) for name in last), default=0)
        except CorruptData as error:
            _log.error("a checkpoint is damaged", why=error.text)
            return 0

    def kept(self, checkpoint: Checkpoint | None) -> tuple[str, ...]:
        """Return which parts of a checkpoint are there and sound, each once."""
        names = {part.sha256 for part in checkpoint.parts} if checkpoint else set()
        return tuple(sorted(name for name in names if self._is_sound(name)))

    def _is_sound(self, name: str) -> bool:
        try:
            return sha256(self.text(name)).hexdigest() == name
        except CorruptData:
            return False

    def text(self, name: str) -> bytes:
        """Return the text of a part.

        Raises
        ------
        CorruptData
            If it is missing or damaged.
        """
        return unpacked(self.packed(name))

    def packed(self, name: str) -> bytes:
        """Return a part as it is sent; as `text`."""
        try:
            return (self._parts / name).read_bytes()
        except FileNotFoundError:
            raise CorruptData(f"part {name} of the catalog is missing") from None
        except OSError as error:
            why = f"part {name} of the catalog cannot be read: {error.strerror}"
            raise CorruptData(why) from error

    def _keep(self, part: bytes, known: Iterable[str]) -> None:
        name = sha256(unpacked(part)).hexdigest()
        if name not in known:
            raise InvalidRequest(f"part {name} is not of the catalog that it came with")
        write_file(self._parts / name, part)

    def _path(self, checkpoint: Checkpoint) -> Path:
        return self._directory / f"{checkpoint.epoch}-{checkpoint.revision}.json"

    def _paths(self) -> list[Path]:
        """Return the checkpoints, newest first."""
        found = self._directory.glob("[0-9]*-*.json")
        return sorted(found, key=_age, reverse=True)

    def _forget_older(self) -> None:
        kept, old = self._paths()[:_KEPT], self._paths()[_KEPT:]
        for path in old:
            path.unlink()
        needed = {
            part.sha256
            for checkpoint in filter(None, map(_read, kept))
            for part in checkpoint.parts
        }
        make_directory(self._parts)
        self._sound &= needed
        for path in self._parts.iterdir():
            if path.name not in needed:
                path.unlink()


def packed(text: bytes) -> bytes:
    """Compress the text of a part."""
    return zlib.compress(text)


def unpacked(part: bytes) -> bytes:
    """Return the text of a compressed part.

    Raises
    ------
    CorruptData
        If it is none.
    """
    try:
        return zlib.decompress(part)
    except zlib.error as error:
        raise CorruptData(f"a part of the catalog is damaged: {error}") from error


def _read(path: Path) -> Checkpoint | None:
    try:
        return decode(path.read_bytes(), str(path))
    except CorruptData as error:
        _log.error("a checkpoint is damaged", why=error.text)
        return None


def _number(text: bytes) -> int:
    names, *_, last = text.splitlines()
    return int(json.loads(last)[json.loads(names).index("id")])


def _age(path: Path) -> tuple[int, int]:
    epoch, _, revision = path.stem.partition("-")
    return int(epoch), int(revision)
