"""Which rows files replace that were loaded before under the same names.

The rows of one input file lie in many stored files, among those of all others of its
load. So what that load made of the table goes, and the other rows are read again.
"""

from collections.abc import Collection, Mapping, Sequence

from qserv.errors import Conflict, UnknownName
from qserv.ingest.gathering import Input
from qserv.ingest.peers import Czar
from qserv.ingest.rework.asked import Rework, Stored


def replaced_by(czar: Czar, release: str, inputs: Sequence[Input]) -> list[Rework]:
    """Return what is read again so that files replace what they brought before.

    Parameters
    ----------
    czar
        Knows which files brought live rows.
    release
        Which is loaded into; it need not exist.
    inputs
        The files.

    Raises
    ------
    Conflict
        If the new content of a file is live under another name.
    """
    found = []
    for table in dict.fromkeys(each.table for each in inputs):
        try:
            stored = Stored.of(czar.stored(release, table))
        except UnknownName:
            continue  # the load makes it: nothing is there to be replaced
        mine = [each for each in inputs if each.table == table]
        if (gone := going(stored, mine)).loads:
            found.append(gone)
    return found


def going(stored: Stored, inputs: Sequence[Input]) -> Rework:
    """Return what goes of a table; of a rework without loads, nothing does.

    Parameters
    ----------
    stored
        What there is.
    inputs
        The files for it.

    Raises
    ------
    Conflict
        If the new content of a file is live under another name.
    """
    live: dict[str, set[bytes]] = {}
    for each in stored.contributions:
        live.setdefault(each.source, set()).add(each.sha256)
    changed = {
        new.file.name: new for new in inputs if live.get(new.file.name) != {new.sha256}
    }
    gone = {each.number for each in stored.contributions if each.source in changed}
    _check_other_names(stored, changed, gone)
    loads = {each.load for each in stored.contributions if each.number in gone}
    return Rework(stored, frozenset(loads), frozenset(gone))


def _check_other_names(
    stored: Stored, changed: Mapping[str, Input], gone: Collection[int]
) -> None:
    """Refuse a new content of a known file that stays live under another name."""
    sources = {each.source for each in stored.contributions}
    names = {new.sha256: name for name, new in changed.items() if name in sources}
    for each in stored.contributions:
        # All files without rows have the same content, or nearly.
        if each.rows and each.number not in gone and each.sha256 in names:
            raise Conflict(
                f"table {stored.release}.{stored.table.name} has the rows of "
                f"{names[each.sha256]} as it is now already, from {each.source}: leave "
                "it out, or correct one of the two"
            )
