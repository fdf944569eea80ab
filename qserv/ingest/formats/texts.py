"""Reads texts as numbers, truths and times: those of CSV, ECSV and VOTable.

The common way is one cast of a whole column. Where that fails, what people and
programs write besides is tried: ``+5``, ``1.0`` for 1, ``1.5D3`` (Fortran), ``T``,
``yes``, ``2026-01-31T12:00:00Z``, and words for NULL. Such a word is NULL only where
it could be nothing else: in a column of texts it stays a text.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]
"""Which rows."""

NULLS: Final = ("", "\\N")
"""Texts that are NULL in every column."""
WORDS: Final = ("", "\\n", "null", "none", "na", "n/a", "<na>", "--", "-")
"""Texts, in lower case, that are NULL where no text is wanted."""
_NAN: Final = ("nan", "+nan", "-nan")

_TRUE: Final = ("true", "t", "yes", "y", "1", "1.0")
_FALSE: Final = ("false", "f", "no", "n", "0", "0.0")
_NUMBER: Final = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_INFINITE: Final = r"^[+-]?inf(inity)?$"
_TIME: Final = (
    r"^(?P<day>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<hour>\d\d:\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,6})0*)?)?)?"
    r" ?(?P<zone>[Zz]|UTC|[+-]\d\d:?\d\d)?$"
)
_DIGITS: Final = 53
"""Bits of a DOUBLE: whole numbers of as many are exact."""


def parse(texts: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask | None]:
    """Read texts as values of a type.

    Parameters
    ----------
    texts
        Strings.
    target
        The type; of numbers that are NaN the caller makes NULL.

    Returns
    -------
    array
        The values.
    bad
        Which texts are none; None where all are.
    """
    if target == pa.string():
        return texts, None
    try:
        array = texts.cast(target)
    except pa.ArrowInvalid:
        return _parse_slowly(texts, target)
    if pa.types.is_floating(target) and pc.any(pc.is_inf(array)).as_py():
        return _parse_slowly(texts, target)
    return array, None


def typed(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Return values that may have been read as texts; anything where one is none."""
    return parse(array, target)[0] if array.type == pa.string() else array


def text_of(array: pa.Array) -> tuple[pa.Array, Mask | None]:
    """Return bytes as texts, and which are none in UTF-8."""
    try:
        return array.cast(pa.string()), None
    except pa.ArrowInvalid:
        texts = [_decoded(value) for value in array.to_pylist()]
        bad = np.array([text is None for text in texts]) & np.asarray(array.is_valid())
        return pa.array(texts, pa.string()), bad


def each(
    array: pa.Array, target: pa.DataType, cast: Callable[[pa.Array], pa.Array]
) -> tuple[pa.Array, Mask | None]:
    """Cast what can be, by halving what cannot as a whole.

    Parameters
    ----------
    array
        The values.
    target
        The type that the cast gives.
    cast
        Raises `pyarrow.ArrowInvalid` if any value does not fit.

    Returns
    -------
    array
        The new values, NULL where one does not fit.
    bad
        Which do not; None where all do.
    """
    bad = np.zeros(len(array), dtype=np.bool_)
    done: list[pa.Array] = []
    waiting = [(0, len(array))]
    while waiting:
        start, stop = waiting.pop()
        try:
            done.append(cast(array.slice(start, stop - start)))
        except pa.ArrowInvalid:
            if stop - start == 1:
                bad[start] = True
                done.append(pa.nulls(1, target))
            else:
                middle = (start + stop) // 2
                waiting += [(middle, stop), (start, middle)]
    return pa.concat_arrays(done), bad if bad.any() else None


def either(one: Mask | None, other: Mask | None) -> Mask | None:
    """Return which rows are in one of two masks; None is a mask of no row."""
    if one is None or other is None:
        return other if one is None else one
    return one | other


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _parse_slowly(texts: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask | None]:
    texts = pc.utf8_trim_whitespace(texts)
    lower = pc.utf8_lower(texts)
    words = WORDS if pa.types.is_floating(target) else (*WORDS, *_NAN)
    null = pc.is_in(lower, pa.array(words))
    texts = pc.if_else(null, pa.scalar(None, pa.string()), texts)
    if pa.types.is_boolean(target):
        return _booleans(texts)
    if pa.types.is_timestamp(target):
        return _times(texts, target)
    if pa.types.is_floating(target):
        return _floats(texts, target)
    return _integers(texts, target)


def _booleans(texts: pa.Array) -> tuple[pa.Array, Mask | None]:
    lower = pc.utf8_lower(texts)
    true = pc.is_in(lower, pa.array(_TRUE))
    known = pc.or_(true, pc.is_in(lower, pa.array(_FALSE)))
    values = pc.if_else(texts.is_valid(), true, pa.scalar(None, pa.bool_()))
    return values, _unknown(texts, known)


def _times(texts: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask | None]:
    parts = pc.extract_regex(texts, _TIME)
    known = parts.is_valid()
    day, hour, second, fraction, zone = (
        pc.struct_field(parts, name)
        for name in ("day", "hour", "second", "fraction", "zone")
    )
    whole = pc.binary_join_element_wise(
        day,
        pc.binary_join_element_wise(
            _or(hour, "00:00"),
            pc.binary_join_element_wise(_or(second, "00"), _or(fraction, "0"), "."),
            ":",
        ),
        "T",
    )
    # A time without zone is taken as UTC, as all of ours are.
    zone = _or(pc.replace_substring_regex(zone, r"^(z|UTC)$", "Z"), "Z")
    whole = pc.binary_join_element_wise(whole, zone, "")
    zoned = pa.timestamp("us", "UTC")
    array, late = each(
        pc.if_else(known, whole, pa.scalar(None, pa.string())),
        zoned,
        lambda some: some.cast(zoned),
    )
    return array.cast(target), either(_unknown(texts, known), late)


def _floats(texts: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask | None]:
    texts = pc.replace_substring_regex(texts, r"^([+-]?[\d.]+)[dD]", r"\1e")
    lower = pc.utf8_lower(texts)
    finite = pc.match_substring_regex(texts, _NUMBER)
    infinite = pc.match_substring_regex(lower, _INFINITE)
    known = pc.or_(pc.or_(finite, infinite), pc.is_in(lower, pa.array(_NAN)))
    array = pc.if_else(known, lower, pa.scalar(None, pa.string())).cast(target)
    # A number beyond the type's range is no infinity.
    held = pc.or_(infinite, pc.invert(pc.is_inf(array)))
    return array, _unknown(texts, pc.and_(known, held.fill_null(True)))


def _integers(texts: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask | None]:
    plain = pc.replace_substring_regex(texts, r"^\+", "")
    plain = pc.replace_substring_regex(plain, r"^(-?\d+)\.0*$", r"\1")
    whole = pc.match_substring_regex(plain, r"^-?\d+$")
    none = pa.scalar(None, pa.string())
    array, large = each(
        pc.if_else(whole, plain, none), target, lambda some: some.cast(target)
    )
    # What is left may be whole all the same: 1e3, 1.000e+00.
    floats, bad = _floats(pc.if_else(whole, none, plain), pa.float64())
    limit = min(target.bit_width - 1, _DIGITS)
    good = pc.and_(
        pc.equal(pc.floor(floats), floats), pc.less(pc.abs(floats), 2.0**limit)
    ).fill_null(False)
    zero = pa.scalar(0.0)
    array = pc.if_else(
        good, pc.if_else(good, floats, zero).cast(target, safe=False), array
    )
    known = pc.or_(whole, good)
    return array, either(_unknown(texts, known), either(bad, large))


def _or(texts: pa.Array, other: str) -> pa.Array:
    """Return texts, and another where there is none: RE2 gives an empty one."""
    return pc.if_else(pc.equal(texts, ""), other, texts)


def _unknown(texts: pa.Array, known: pa.Array) -> Mask | None:
    bad = np.asarray(pc.and_(texts.is_valid(), pc.invert(known.fill_null(False))))
    return bad if bad.any() else None
