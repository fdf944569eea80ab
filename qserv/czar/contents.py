"""Refuses files whose content is in their table already: rows would count twice."""

from collections.abc import Iterable, Mapping

from qserv.catalog.provenance import Contribution, Origin
from qserv.errors import Conflict


def admit(
    release: str,
    read: Iterable[Contribution],
    *,
    here: Mapping[tuple[str, str], str],
    live: Mapping[tuple[str, str], Origin],
) -> dict[tuple[str, str], str]:
    """Take in what a load has read, if none of it is in its table yet.

    Parameters
    ----------
    release
        The release; only for messages.
    read
        What was read; files without rows, which double nothing, are always taken.
    here
        What the load brought before: (table, sha256) -> the file.
    live
        What is live: (table, sha256) -> where it came from.

    Returns
    -------
    dict
        What was read, as in `here`.

    Raises
    ------
    Conflict
        If a content is live, or comes twice from files of two names.
    """
    fresh: dict[tuple[str, str], str] = {}
    for one in read:
        if not one.rows:
            continue
        content = one.table, one.sha256
        if origin := live.get(content):
            raise Conflict(
                f"{one.source}: table {release}.{one.table} has its rows already: load "
                f"{origin.load} (snapshot {origin.snapshot}) brought the same content "
                f"as {origin.source}; leave the file out"
            )
        # A repeated call says the same again.
        other = here.get(content) or fresh.setdefault(content, one.source)
        if other != one.source:
            raise Conflict(
                f"{one.source}: this load brings table {release}.{one.table} the same "
                f"content as {other} already; leave one of the two out"
            )
    return fresh
