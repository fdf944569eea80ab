"""What a command line says of files."""

from collections.abc import Sequence

from qserv.errors import InvalidRequest


def by_table(inputs: Sequence[str]) -> dict[str, list[str]]:
    """Return files by table, of words such as ``Object=objects.csv``.

    Raises
    ------
    InvalidRequest
        If a word is not of this form.
    """
    tables: dict[str, list[str]] = {}
    for each in inputs:
        table, equals, pattern = each.partition("=")
        if not (table and equals and pattern):
            raise InvalidRequest(f"{each!r} is not TABLE=FILES, as in Object=o.parquet")
        tables.setdefault(table, []).append(pattern)
    return tables
