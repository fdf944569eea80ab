"""The rule of names: what tables and columns may be called, and what to rename to.

A name is a letter, then letters, digits and underscores: a regular identifier of ADQL,
which a query writes without quotes. Names are matched in any case, so no two columns
may differ in case alone. Names that begin with an underscore are qserv's own, and so
are `PSEUDO`. Reserved words are allowed, but a query has to quote them.
"""

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from qserv.errors import InvalidRequest

PSEUDO: Final = frozenset({"chunkid", "subchunkid"})
"""What every table in chunks has without a column, in lower case."""
SYSTEM: Final = frozenset({"_healpix_29", "_chunk", "_source", "_x", "_y", "_z"})
"""The columns that qserv adds to the files it stores."""
_INDEX: Final = re.compile(r"__index_level_\d+__")
"""What pandas calls an index without a name in a Parquet or Arrow file."""
_REGULAR: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_ODD: Final = re.compile(r"[^A-Za-z0-9_]")
_RULE: Final = "a name is a letter, then letters, digits and _"

_WORDS: Final = """
    ABS ABSOLUTE ACOS ACTION ADD ALL ALLOCATE ALTER AND ANTI ANY ARE AREA AS ASC ASIN
    ASOF ASSERTION AT ATAN ATAN2 AUTHORIZATION AVG BEGIN BETWEEN BIGINT BIT BIT_LENGTH
    BOTH BOX BY CASCADE CASCADED CASE CAST CATALOG CEILING CENTROID CHAR CHARACTER
    CHARACTER_LENGTH CHAR_LENGTH CHECK CIRCLE CLOSE COALESCE COLLATE COLLATION COLUMN
    COMMIT CONNECT CONNECTION CONSTRAINT CONSTRAINTS CONTAINS CONTINUE CONVERT COORD1
    COORD2 COORDSYS CORRESPONDING COS COT COUNT CREATE CROSS CURRENT CURRENT_DATE
    CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER CURSOR DATE DAY DEALLOCATE DECIMAL
    DECLARE DEFAULT DEFERRABLE DEFERRED DEGREES DELETE DESC DESCRIBE DESCRIPTOR
    DIAGNOSTICS DISCONNECT DISTANCE DISTINCT DOMAIN DOUBLE DROP ELSE END ESCAPE EXCEPT
    EXCEPTION EXEC EXECUTE EXISTS EXP EXTERNAL EXTRACT FALSE FETCH FINAL FIRST FLOAT
    FLOOR FOR FOREIGN FOUND FROM FULL GET GLOBAL GO GOTO GRANT GROUP HAVING HOUR
    IDENTITY ILIKE IMMEDIATE IN INDICATOR INITIALLY INNER INPUT INSENSITIVE INSERT INT
    INTEGER INTERSECT INTERSECTS INTERVAL INTO IN_UNIT IS ISOLATION JOIN KEY LANGUAGE
    LAST LATERAL LEADING LEFT LEVEL LIKE LIMIT LOCAL LOG LOG10 LOWER MATCH MAX MIN
    MINUTE MOD MODULE MONTH NAMES NATIONAL NATURAL NCHAR NEXT NO NOT NULL NULLIF NUMERIC
    OCTET_LENGTH OF OFFSET ON ONLY OPEN OPTION OR ORDER OUTER OUTPUT OVER OVERLAPS PAD
    PARTIAL PERCENT PI POINT POLYGON POSITION POSITIONAL POWER PRECISION PREPARE
    PRESERVE PRIMARY PRIOR PRIVILEGES PROCEDURE PUBLIC RADIANS RAND READ REAL REFERENCES
    REGION RELATIVE RESTRICT REVOKE RIGHT ROLLBACK ROUND ROWS SCHEMA SCROLL SECOND
    SECTION SELECT SEMI SESSION SESSION_USER SET SIN SIZE SMALLINT SOME SPACE SQL
    SQLCODE SQLERROR SQLSTATE SQRT SUBSTRING SUM SYSTEM_USER TABLE TAN TEMPORARY THEN
    TIME TIMESTAMP TIMEZONE_HOUR TIMEZONE_MINUTE TO TOP TRAILING TRANSACTION TRANSLATE
    TRANSLATION TRIM TRUE TRUNCATE UNION UNIQUE UNKNOWN UPDATE UPPER USAGE USER USING
    VALUE VALUES VARCHAR VARYING VIEW WHEN WHENEVER WHERE WITH WORK WRITE YEAR ZONE
"""
RESERVED: Final = frozenset(_WORDS.split())
"""The reserved words of ADQL 2.1 and those of `qserv.dialects`."""


def check_table(table: str, columns: Sequence[str]) -> None:
    """Check the name of a table and those of its columns.

    Raises
    ------
    InvalidRequest
        If one breaks the rule; says which, why, and what to rename it to.
    """
    if fault := _fault(table):
        raise InvalidRequest(f"table {table!r} {fault}; {_RULE}")
    seen: dict[str, str] = {}
    for name in columns:
        _check(table, name, columns)
        if name.lower() in seen:
            raise _twice(table, seen[name.lower()], name, columns)
        seen[name.lower()] = name


def better(name: str, taken: Collection[str] = ()) -> str:
    """Return a name that keeps the rule and says the same.

    Parameters
    ----------
    name
        A name that breaks it.
    taken
        Names of the other columns.
    """
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub("__+", "_", _ODD.sub("_", letters)).strip("_") or "column"
    if plain[0].isdigit():
        plain = f"c_{plain}"
    if plain.lower() in PSEUDO:
        plain = f"my_{plain}"
    folded = {other.lower() for other in taken}
    tries = (plain, *(f"{plain}_{n}" for n in range(2, len(folded) + 3)))
    return next(each for each in tries if each.lower() not in folded)


def mended(columns: Sequence[str]) -> dict[str, str]:
    """Return new names for those of a table's columns that break the rule."""
    regular = [name for name in columns if _fault(name) is None]
    kept = {name.lower(): name for name in reversed(regular)}
    taken, renamed = set(kept), {}
    for name in columns:
        if kept.get(name.lower()) != name:
            renamed[name] = better(name, taken)
            taken.add(renamed[name].lower())
    return renamed


def to_leave_out(name: str) -> bool:
    """Return whether a file's column of that name says nothing about the sky."""
    return name.lower() in SYSTEM | PSEUDO or bool(_INDEX.fullmatch(name))


def reserved(columns: Iterable[str]) -> tuple[str, ...]:
    """Return those of the names that a query has to write in quotes."""
    return tuple(name for name in columns if name.upper() in RESERVED)


def said(name: str) -> str:
    """Return a name as YAML reads it."""
    return name if _REGULAR.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def renamed(columns: Sequence[str], new: Mapping[str, str]) -> list[str]:
    """Return the names of columns after a renaming.

    Parameters
    ----------
    columns
        The names as they are.
    new
        Old name -> new name; an old one that no column has as it is written is
        matched in any case.
    """
    folded = {old.lower(): name for old, name in new.items() if old not in columns}
    return [new.get(name) or folded.get(name.lower()) or name for name in columns]


def _check(table: str, name: str, columns: Sequence[str]) -> None:
    if (fault := _fault(name)) is None:
        return
    # A character that does not show is written out.
    shown = name if _REGULAR.fullmatch(name.lstrip("_")) else repr(name)
    others = [other for other in columns if other != name]
    renaming = f"`rename: {{{said(name)}: {better(name, others)}}}`"
    if to_leave_out(name):
        raise InvalidRequest(
            f"table {table}: column {shown} {fault}: leave it out with "
            f"`ignore: [{said(name)}]` in the sidecar, or keep it with {renaming}"
        )
    raise InvalidRequest(
        f"table {table}: column {shown} {fault}; {_RULE}: write {renaming} in the "
        "sidecar, and the file is read as it is"
    )


def _twice(
    table: str, first: str, second: str, columns: Sequence[str]
) -> InvalidRequest:
    if first == second:
        return InvalidRequest(
            f"table {table}: column {first} stands there twice; take one out"
        )
    return InvalidRequest(
        f"table {table}: two columns differ only in case, {first} and {second}; write "
        f"`rename: {{{second}: {better(second, columns)}}}` in the sidecar"
    )


def _fault(name: str) -> str | None:
    """Return what breaks the rule, two columns of one name aside; None if nothing."""
    if name.lower() in SYSTEM:
        return "is a system column of qserv"
    if name.lower() in PSEUDO:
        return "is what qserv calls the cells of every table in chunks"
    if _INDEX.fullmatch(name):
        return "numbers the rows, as pandas writes an index without a name"
    if _REGULAR.fullmatch(name):
        return None
    if not name:
        return "has no name"
    if not name.isprintable():
        return "has a character that cannot be printed"
    if odd := _ODD.search(name):
        return "has a blank" if odd[0] == " " else f"has the character {odd[0]}"
    if name.startswith("_"):
        return "begins with an underscore, as only qserv's own columns do"
    return "begins with a digit"
