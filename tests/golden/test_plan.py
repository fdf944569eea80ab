"""Plans as text, each also run: what a plan says must be what the oracle answers.

``plan expect=broadcast bytes=900`` has a query below it, and the plan that is expected.
Every such plan is run, in batches of one chunk and of all, pruned and not, and must

- answer as the oracle does;
- bring rows together in the ways that ``expect`` names (``local``: in none), joined by
  ``+``;
- send the czar no more than ``bytes`` of rows.

``small`` plans it as if all rows were too many to broadcast, or to merge in one place;
``families`` adds release ``v`` to the family of ``t``, and ``u`` with its own tree.
``refuse`` has a query below it, and the words that refuse it.
"""

import re

import pytest
from golden import runner
from support.chunks import Chunks, without_pruning
from support.oracle import Oracle, same
from support.stages import strategies
from support.survey import survey

from qserv.errors import QservError
from qserv.plan.explain import explain
from qserv.plan.limits import DEFAULT_SIZES, Sizes
from qserv.plan.planner import plan

SMALL = Sizes(broadcast=1, merge=1, bucket=20_000)


class World:
    """Chunks, and the oracle that knows the same rows."""

    def __init__(self, *others: tuple[str, str | None, int]) -> None:
        made = survey()
        self.chunks = Chunks(made, leaf_rows=60)
        rows = {self.chunks.release: made.rows}
        for number, (release, family, leaf_rows) in enumerate(others):
            other = survey(seed=2 + number, objects=500)
            self.chunks.add(other, leaf_rows, release=release, family=family)
            rows[release] = other.rows
        self.oracle = Oracle(rows)
        self.tree = self.chunks.tree

    def planned(self, text, sizes):
        return plan(text, self.chunks.snapshot, sizes=sizes, default_release="t")

    def check(self, text, found, made):
        expected = self.oracle.answer(text, self.chunks.snapshot, "t")
        if made.limit is None:
            same(found, expected, in_order=is_ordered(text))
            return
        # Any rows will do: as many, and all of them among those that qualify.
        whole = re.sub(r"TOP \d+ |(\nOFFSET \d+)", "", text)
        everything = self.oracle.answer(whole, self.chunks.snapshot, "t")
        assert found.num_rows == expected.num_rows
        assert set(zip(*found.to_pydict().values(), strict=True)) <= set(
            zip(*everything.to_pydict().values(), strict=True)
        )


def is_ordered(text: str) -> bool:
    """Whether ORDER BY stands outside of all brackets."""
    while (less := re.sub(r"\([^()]*\)", "", text)) != text:
        text = less
    return "ORDER BY" in text


@pytest.fixture(scope="module")
def alone() -> World:
    return World()


@pytest.fixture(scope="module")
def families() -> World:
    return World(("v", "t", 60), ("u", None, 200))


@pytest.mark.parametrize("path", runner.files("plan"), ids=lambda p: p.stem)
def test_plan_is_as_written_and_answers_as_the_oracle(path, request, alone, rewrite):
    def answer(case):
        if case.command == "refuse":
            with pytest.raises(QservError) as refused:
                plan(case.text, alone.chunks.snapshot)
            return f"{refused.value.code} {refused.value}"
        several = "families" in case.flags
        world = request.getfixturevalue("families") if several else alone
        made = world.planned(
            case.text, SMALL if "small" in case.flags else DEFAULT_SIZES
        )
        for batch in (1, len(world.tree)):
            run = world.chunks.start(made, batch)
            world.check(case.text, run.answer(), made)
            assert run.reached <= int(case.arguments["bytes"]), case.place
        everywhere = world.chunks.run(without_pruning(made))
        world.check(case.text, everywhere, made)
        assert case.arguments["expect"] == "+".join(strategies(made)), case.place
        return explain(made, world.chunks.routes(made))

    runner.check(path, answer, rewrite=rewrite)
