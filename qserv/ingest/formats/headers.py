"""Reads the headers of FITS files: cards of 80 characters in blocks of 2880 bytes.

Only what tables need; whatever is odd is left to the reader of the table to refuse.
"""

import re
from dataclasses import dataclass
from typing import Final

from qserv.ingest.formats.quotes import Stream

BLOCK: Final = 2880
"""Bytes in whose multiples headers and data come."""
_CARD: Final = 80
_LIMIT: Final = 20_000
"""Blocks that no header is longer than."""
_VALUE: Final = re.compile(
    r"\s*(?:'(?P<text>(?:[^']|'')*)'|(?P<word>[^/\s][^/]*))?\s*(?:/(?P<comment>.*))?"
)
_WHOLE: Final = re.compile(r"[+-]?[0-9]+")
_REAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([EDed][+-]?[0-9]+)?")

Value = str | int | float | bool | None


class Malformed(Exception):
    """It is no header."""


@dataclass(frozen=True, slots=True)
class Header:
    """What one header says.

    Parameters
    ----------
    values, comments
        By keyword.
    """

    values: dict[str, Value]
    comments: dict[str, str]

    def whole(self, keyword: str, default: int | None = None) -> int:
        """Return a whole number that is not negative.

        Raises
        ------
        Malformed
            If it is none.
        """
        value = self.values.get(keyword, default)
        if type(value) is not int or not 0 <= value < 2**63:
            raise Malformed(f"{keyword} is {value!r}, no whole number from 0")
        return value

    def text(self, keyword: str) -> str:
        """Return a text; empty where there is none."""
        value = self.values.get(keyword)
        return value.strip() if isinstance(value, str) else ""

    @property
    def data_bytes(self) -> int:
        """Bytes of the data behind the header, without those that fill a block.

        Raises
        ------
        Malformed
            If it does not say.
        """
        bits = self.values.get("BITPIX")
        if bits not in {8, 16, 32, 64, -32, -64}:
            raise Malformed(f"BITPIX is {bits!r}")
        axes = self.whole("NAXIS")
        if axes > 999:
            raise Malformed(f"NAXIS is {axes}")
        if not axes:
            return 0
        size = 1
        for axis in range(1, axes + 1):
            size *= self.whole(f"NAXIS{axis}")
        size = (
            abs(int(bits))
            // 8
            * self.whole("GCOUNT", 1)
            * (self.whole("PCOUNT", 0) + size)
        )
        if size >= 2**63:
            raise Malformed("its data are said to be larger than any file")
        return size


def read_header(stream: Stream) -> Header | None:
    """Read the next header; None at the end of the file.

    Raises
    ------
    Malformed
        If there is something else.
    """
    values: dict[str, Value] = {}
    comments: dict[str, str] = {}
    last = ""
    for number in range(_LIMIT):
        block = exactly(stream, BLOCK)
        if not number and not block.strip(b"\0 "):
            return None  # nothing, or what fills a tape's last record
        if len(block) < BLOCK:
            raise Malformed("ends within a header: it is truncated")
        text = block.decode("latin-1")
        for start in range(0, BLOCK, _CARD):
            card = text[start : start + _CARD]
            keyword = card[:8].rstrip()
            if not (number or start) and keyword not in {"SIMPLE", "XTENSION"}:
                raise Malformed(f"begins with {keyword!r}, not as FITS does")
            if keyword == "END" and not card[8:].strip():
                return Header(values, comments)
            if keyword == "CONTINUE" and last:
                _continue(values, comments, last, card[8:])
            elif card[8:10] == "= ":
                values[keyword], comments[keyword] = _parsed(card[10:])
                last = keyword
    raise Malformed("has a header without end")


def exactly(stream: Stream, size: int) -> bytes:
    """Read so many bytes, or all that are left."""
    parts, missing = [], size
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _parsed(text: str) -> tuple[Value, str]:
    found = _VALUE.match(text)
    assert found is not None  # every part of the pattern is optional
    comment = (found["comment"] or "").strip()
    if found["text"] is not None:
        return found["text"].replace("''", "'").rstrip(), comment
    word = (found["word"] or "").strip()
    if word in {"T", "F"}:
        return word == "T", comment
    if _WHOLE.fullmatch(word):
        return int(word), comment
    if _REAL.fullmatch(word):
        return float(word.upper().replace("D", "E")), comment
    return word or None, comment


def _continue(
    values: dict[str, Value], comments: dict[str, str], keyword: str, text: str
) -> None:
    before = values[keyword]
    more, comment = _parsed(text)
    if isinstance(before, str) and before.endswith("&") and isinstance(more, str):
        values[keyword] = before[:-1] + more
        comments[keyword] = f"{comments[keyword]} {comment}".strip()
