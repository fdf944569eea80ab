"""The metadata as text: for backups, and for what workers remember of it.

A checkpoint lists parts. A part is some thousand rows of one table in the order of
their primary key, and is named by the sha256 of its text, so that two checkpoints share
the parts in which nothing changed. The text is the same whatever database it is from.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Final

from qserv.errors import CorruptData

FILES: Final = frozenset({"manifest_entry", "replica"})
"""Which files there are, and where: workers know it better."""
TRANSIENT: Final = frozenset(
    {"lease", "open_load", "staged_file", "open_input", "goal", "leaving"}
)
"""What is of no use once its czar is gone."""

Read = Callable[[str], bytes]
"""Returns the text of a part by its sha256."""


@dataclass(frozen=True, slots=True)
class PartName:
    """One part of a checkpoint: some rows of a table."""

    table: str
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the metadata was at one moment.

    Parameters
    ----------
    cluster
        Its id.
    epoch, revision
        Of the metadata; the greater pair is the newer one.
    formats
        The migrations that its tables had seen.
    made
        When, UTC.
    parts
        All rows, in an order in which they can be inserted.
    """

    cluster: str
    epoch: int
    revision: int
    formats: tuple[int, ...]
    made: str
    parts: tuple[PartName, ...]

    @property
    def age(self) -> tuple[int, int]:
        """What grows from one to the next."""
        return self.epoch, self.revision

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(part.rows for part in self.parts)

    def encode(self) -> bytes:
        """Return it as text, with a checksum in its last line."""
        body = json.dumps(asdict(self)).encode()
        return body + b"\n" + sha256(body).hexdigest().encode() + b"\n"


def decode(text: bytes, where: str) -> Checkpoint:
    """Read a checkpoint.

    Parameters
    ----------
    text
        As `Checkpoint.encode` returned it.
    where
        Names it in messages.

    Raises
    ------
    CorruptData
        If it does not match its checksum.
    """
    body, _, checksum = text.rstrip(b"\n").rpartition(b"\n")
    if sha256(body).hexdigest().encode() != checksum:
        raise CorruptData(f"{where} does not match its checksum")
    found = json.loads(body)
    parts = tuple(PartName(**part) for part in found["parts"])
    return Checkpoint(**found | {"formats": tuple(found["formats"]), "parts": parts})


def checked(part: PartName, text: bytes) -> bytes:
    """Return the text of a part.

    Raises
    ------
    CorruptData
        If it is another text.
    """
    if sha256(text).hexdigest() != part.sha256:
        raise CorruptData(f"{part.sha256[:16]}… of {part.table} has another content")
    return text
