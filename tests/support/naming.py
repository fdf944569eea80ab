"""A planner for tests of the catalog: knows which names a text reads, nothing else."""

from types import SimpleNamespace

from qserv.catalog.tables import Column, DataType
from qserv.errors import LimitExceeded


class Reading:
    """Plans texts like ``SELECT x y FROM hip.a b``, views inlined as they are."""

    def plan(self, text, snapshot, *, language, default_release, frugal):
        try:
            return SimpleNamespace(
                columns=self.columns(text, snapshot, default_release)
            )
        except RecursionError as error:
            raise LimitExceeded("nested too deeply") from error

    def columns(self, text, snapshot, default):
        words, names = text.replace('"', "").removeprefix("SELECT ").split(" FROM ")
        for name in names.split():
            release, _, table = name.rpartition(".")
            home = snapshot.release(release or default)
            if (view := home.views.get(table.lower())) is not None:
                self.columns(view.text, snapshot, home.name)
            else:
                snapshot.table(home.name, table)
        return tuple(Column(word, DataType.BIGINT) for word in words.split())
