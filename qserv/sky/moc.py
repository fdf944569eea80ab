"""Read MOCs: areas as lists of HEALPix pixels (IVOA MOC 2.0, sections 4.3.2 and 4.3.3).

Two ways to write one are read: ``4/30-33 38 52 7/324-934``, where an order is followed
by pixels and ranges of pixels, both ends included, and ``{"4": [30, 31], "7": [324]}``.
Pixels may overlap; an order without pixels only says how fine the survey looked.
"""

import json
import re
from typing import Final

import numpy as np

from qserv.errors import InvalidValue
from qserv.sky.healpix import ORDER
from qserv.sky.ranges import RangeSet

_WORD: Final = re.compile(r"([0-9]{1,20})(?:/|(?:-([0-9]{1,20}))?(?=[\s,]|$))")
_BETWEEN: Final = re.compile(r"[\s,]*")

Span = tuple[int, int]


def parse(text: str) -> RangeSet:
    """Return the area that a MOC describes.

    Parameters
    ----------
    text
        In ASCII or JSON.

    Raises
    ------
    InvalidValue
        If it is neither; says where.
    """
    written = text.strip()
    spans = _from_json(written) if written.startswith("{") else _from_ascii(text)
    return RangeSet.of(np.array(spans, dtype=np.int64).reshape(-1, 2))


def _from_ascii(text: str) -> list[Span]:
    at, spans, order = _after(text, 0), [], -1
    # The s of a MOC of space is the default.
    at += text[at : at + 1] == "s"
    while at < len(text):
        if (word := _WORD.match(text, at)) is None:
            raise InvalidValue(
                f"at character {at + 1} of a MOC: {text[at : at + 20]!r} is neither an "
                "order before a slash, nor a pixel, nor a range of pixels a-b"
            )
        if word[0].endswith("/"):
            order = _order(word[1], f"at character {at + 1} of a MOC")
        else:
            first, last = int(word[1]), int(word[2] or word[1])
            spans.append(_span(order, first, last, f"at character {at + 1} of a MOC"))
        at = _after(text, word.end())
    return spans


def _after(text: str, at: int) -> int:
    """Return where the next word begins."""
    space = _BETWEEN.match(text, at)
    return at if space is None else space.end()


def _from_json(text: str) -> list[Span]:
    try:
        # As pairs: a key that stands twice would count once.
        found = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"a MOC that begins with {{ is no JSON: {error}") from error
    spans = []
    for key, pixels in found:
        order = _order(key, "in a MOC in JSON")
        if not isinstance(pixels, list) or any(type(p) is not int for p in pixels):
            raise InvalidValue(
                f"in a MOC in JSON: order {order} has a list of whole numbers, not "
                f"{json.dumps(pixels)[:40]}"
            )
        spans += [_span(order, p, p, f"in order {order} of a MOC") for p in pixels]
    return spans


def _order(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= ORDER):
        raise InvalidValue(
            f"{where}: an order is a whole number from 0 to {ORDER}, not {text[:20]}"
        )
    return int(text)


def _span(order: int, first: int, last: int, where: str) -> Span:
    """Return the order-29 range of pixels of some order, the last included."""
    if order < 0:
        raise InvalidValue(f"{where}: before pixel {first} stands no order, such as 4/")
    if not 0 <= first <= last < 12 * 4**order:
        raise InvalidValue(
            f"{where}: order {order} has the pixels 0 to {12 * 4**order - 1}, not "
            f"{first if first == last else f'{first}-{last}'}"
        )
    shift = 2 * (ORDER - order)
    return first << shift, (last + 1) << shift
