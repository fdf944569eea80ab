"""Rows in chunks and in the oracle: whether a query is answered rightly."""

from dataclasses import replace

from support.chunks import Chunks
from support.oracle import Oracle, same

from qserv.plan.limits import DEFAULT_SIZES
from qserv.plan.planner import plan


class World:
    """Rows in chunks, and in the oracle."""

    def __init__(self, made, leaf_rows, **layout):
        self.chunks = Chunks(made, leaf_rows, **layout)
        self.oracle = Oracle({self.chunks.release: made.rows})

    def is_right(self, text, sizes=DEFAULT_SIZES, change=lambda made: made):
        made = change(plan(text, self.chunks.snapshot, sizes=sizes))
        expected = self.oracle.answer(text, self.chunks.snapshot)
        return all(
            _agree(self.chunks.run(made, batch), expected) for batch in (1, 10**6)
        )


def _agree(found, expected):
    try:
        same(found, expected, in_order=False)
    except AssertionError:
        return False
    return True


def believing(snapshot, overlap):
    """Return a snapshot that takes an overlap for that of all its tables."""
    return replace(
        snapshot,
        releases={
            name: replace(
                release,
                tables={
                    table: replace(version, overlap=overlap)
                    for table, version in release.tables.items()
                },
            )
            for name, release in snapshot.releases.items()
        },
    )
