"""Reads texts as numbers, truths and times: those of CSV, ECSV and VOTable.

The common way is one cast of a whole column. Where that fails, what people and
programs write besides is tried: ``+5``, ``1.0`` for 1, ``1.5D3`` (Fortran), ``T``,
``yes``, ``2026-01-31T12:00:00Z``, and words for NULL. Such a word is NULL only where
it could be nothing else: in a column of texts it stays a text.

A text means the same whatever stands beside it: what the cast takes, the other way
takes as the same value, and where the cast may be wrong (`too_large`, `wrapped`), it
does not count.
"""

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
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
_NAN: Final = r"^[+-]?nan(\([a-z0-9_]*\))?$"

_TRUE: Final = ("true", "t", "yes", "y", "1", "1.0")
_FALSE: Final = ("false", "f", "no", "n", "0", "0.0")
_PLAIN: Final = r"^-?[0-9]+$"
_HEX: Final = r"^0[xX][0-9a-fA-F]+$"
_NUMBER: Final = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_FORTRAN: Final = r"^([+-]?[0-9.]+)[dD]"
_INFINITE: Final = r"^[+-]?inf(inity)?$"
_TIME: Final = (
    r"^(?P<day>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<hour>\d\d)(?::(?P<minute>\d\d)"
    r"(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,6})0*)?)?)?)?"
    r" ?(?P<zone>[Zz]|UTC|[+-]\d\d:?\d\d)?$"
)
_WIDEST: Final = 20
"""Digits that a whole number of 64 bits has at most."""


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
    if too_large(array) or (
        wrapped(array) and pc.any(pc.match_substring_regex(texts, _HEX)).as_py()
    ):
        return _parse_slowly(texts, target)
    return array, None


def too_large(array: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether a cast of texts may have made infinities of large numbers."""
    return bool(pa.types.is_floating(array.type) and pc.any(pc.is_inf(array)).as_py())


def wrapped(array: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether a cast may have made negative numbers of ``0xFFFF``."""
    return bool(
        pa.types.is_signed_integer(array.type) and (pc.min(array).as_py() or 0) < 0
    )


def typed(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Return values that may have been read as texts; anything where one is none."""
    array = text_of(array)[0] if array.type == pa.binary() else array
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
    null = pc.is_in(lower, pa.array(WORDS))
    if not pa.types.is_floating(target):
        null = pc.or_(null, pc.match_substring_regex(lower, _NAN).fill_null(False))
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
    day, hour, minute, second, fraction, zone = (
        pc.struct_field(parts, name)
        for name in ("day", "hour", "minute", "second", "fraction", "zone")
    )
    second = pc.binary_join_element_wise(_or(second, "00"), _or(fraction, "0"), ".")
    time = pc.binary_join_element_wise(_or(hour, "00"), _or(minute, "00"), second, ":")
    whole = pc.binary_join_element_wise(day, time, "T")
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
    texts = pc.replace_substring_regex(texts, _FORTRAN, r"\1e")
    lower = pc.utf8_lower(texts)
    finite = pc.match_substring_regex(texts, _NUMBER)
    infinite = pc.match_substring_regex(lower, _INFINITE)
    nan = pc.match_substring_regex(lower, _NAN)
    known = pc.or_(pc.or_(finite, infinite), nan)
    array = pc.if_else(known, lower, pa.scalar(None, pa.string())).cast(target)
    # A number beyond the type's range is no infinity.
    held = pc.or_(infinite, pc.invert(pc.is_inf(array)))
    return array, _unknown(texts, pc.and_(known, held.fill_null(True)))


def _integers(texts: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask | None]:
    plain = pc.replace_substring_regex(texts, r"^\+([0-9])", r"\1")
    plain = pc.replace_substring_regex(plain, r"^(-?\d+)\.0*$", r"\1")
    odd = pc.invert(pc.match_substring_regex(plain, _PLAIN)).fill_null(False)
    if pc.any(odd).as_py():
        whole = [_whole(text) for text in plain.filter(odd).to_pylist()]
        plain = pc.replace_with_mask(plain, odd, pa.array(whole, pa.string()))
    array, large = each(plain, target, lambda some: some.cast(target))
    return array, either(_unknown(texts, plain.is_valid()), large)


def _whole(text: str) -> str | None:
    """Write a whole number in digits; None for any other text."""
    if re.match(_HEX, text):
        return str(int(text, 16))
    text = re.sub(_FORTRAN, r"\1e", text)
    if not re.match(_NUMBER, text):
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        return None
    if value and (value.adjusted() >= _WIDEST or value != value.to_integral_value()):
        return None
    return str(int(value)) if value else "0"


def _or(texts: pa.Array, other: str) -> pa.Array:
    """Return texts, and another where there is none: RE2 gives an empty one."""
    return pc.if_else(pc.equal(texts, ""), other, texts)


def _unknown(texts: pa.Array, known: pa.Array) -> Mask | None:
    bad = np.asarray(pc.and_(texts.is_valid(), pc.invert(known.fill_null(False))))
    return bad if bad.any() else None
