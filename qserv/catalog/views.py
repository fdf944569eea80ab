"""A view: a named query over partitioned tables, shown to users as a table."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """A named query of a release.

    Parameters
    ----------
    name
        As it was written when the view was made.
    text
        One ADQL query; its tables are qualified, or those of the view's own release.
    description
        What its rows are.
    since
        The first snapshot that shows it; 0 where none does yet.
    """

    name: str
    text: str
    description: str = ""
    since: int = 0
