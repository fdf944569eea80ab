"""Tells by its first bytes that a file is something else than its name says."""

from typing import Final

from qserv.ingest import stores
from qserv.ingest.formats.ecsv import MAGIC as ECSV
from qserv.ingest.formats.rows import Piece
from qserv.ingest.inputs import Compression, Format

_SEEN: Final = 64
_PACKED: Final = {
    Compression.GZIP: b"\x1f\x8b",
    Compression.ZSTD: b"\x28\xb5\x2f\xfd",
}
_ENDS: Final = {Compression.GZIP: ".gz", Compression.ZSTD: ".zst"}
_FORMATS: Final = (
    (b"PAR1", Format.PARQUET),
    (b"ARROW1", Format.ARROW),
    (b"SIMPLE  =", Format.FITS),
    (ECSV, Format.ECSV),
    (b"<?xml", Format.VOTABLE),
    (b"<VOTABLE", Format.VOTABLE),
)
_NEEDED: Final = frozenset({Format.PARQUET, Format.FITS, Format.ECSV, Format.VOTABLE})
"""Formats of which every file begins so."""


def check(piece: Piece) -> None:
    """Compare the first bytes of a file with what its name says.

    Raises
    ------
    BadContribution
        If they are of something else.
    """
    file = piece.file
    with stores.named(file.name), stores.opened(file.uri) as stream:
        head = stream.read(_SEEN)
    packed = next((c for c, begin in _PACKED.items() if head.startswith(begin)), None)
    if packed is not file.compression:
        told = f"packed with {packed}" if packed else "not packed"
        name = f"end in {_ENDS[packed]}" if packed else "not end in .gz or .zst"
        raise piece.wrong(f"is {told} by its first bytes: its name should {name}")
    if file.compression:
        with (
            stores.named(file.name),
            stores.streamed(file.uri, file.compression) as stream,
        ):
            head = stream.read(_SEEN)
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    found = next((f for begin, f in _FORMATS if head.startswith(begin)), None)
    if found and found is not file.format:
        raise piece.wrong(
            f"is {found} by its first bytes, and not {file.format}: rename it, or say "
            f"--format {found}"
        )
    if not found and file.format in _NEEDED and not _wide(head):
        raise piece.wrong(
            f"does not begin as {file.format} does: is it whole, and is that its "
            "format? Else say --format"
        )


def _wide(head: bytes) -> bool:
    # XML may be in UTF-16, and begin with a comment.
    return head.startswith((b"\xff\xfe", b"\xfe\xff", b"<!"))
