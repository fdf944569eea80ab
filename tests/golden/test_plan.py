"""Plans as text, each also run: what a plan says must be what the oracle answers."""

import pytest
from golden import runner
from support.chunks import Chunks, without_pruning
from support.oracle import Oracle, same
from support.stages import strategies
from support.survey import survey

from qserv.errors import QservError
from qserv.plan.explain import explain
from qserv.plan.planner import plan


@pytest.fixture(scope="module")
def chunks() -> Chunks:
    return Chunks(survey(), leaf_rows=60)


@pytest.fixture(scope="module")
def oracle(chunks) -> Oracle:
    return Oracle({chunks.release: chunks.survey.rows})


@pytest.mark.parametrize("path", runner.files("plan"), ids=lambda p: p.stem)
def test_plan_is_as_written_and_answers_as_the_oracle(path, chunks, oracle, rewrite):
    def answer(case):
        if case.command == "refuse":
            with pytest.raises(QservError) as refused:
                plan(case.text, chunks.snapshot)
            return f"{refused.value.code} {refused.value}"
        made = plan(case.text, chunks.snapshot)
        for batch in (1, len(chunks.tree)):
            run = chunks.start(made, batch)
            check(case.text, run.answer(), made, chunks, oracle)
            assert run.reached <= int(case.arguments.get("bytes", 2**63)), case.place
        everywhere = chunks.run(without_pruning(made))
        check(case.text, everywhere, made, chunks, oracle)
        found = strategies(made)
        assert case.arguments.get("expect", "") in {"", *found}, (case.place, found)
        return explain(made, chunks.routes(made))

    runner.check(path, answer, rewrite=rewrite)


def check(text, found, made, chunks, oracle):
    expected = oracle.answer(text, chunks.snapshot)
    if made.limit is not None:
        # Any rows will do: as many, and all of them among those that qualify.
        everything = oracle.answer(text.replace("TOP 10 ", ""), chunks.snapshot)
        assert found.num_rows == expected.num_rows
        assert set(zip(*found.to_pydict().values(), strict=True)) <= set(
            zip(*everything.to_pydict().values(), strict=True)
        )
        return
    same(found, expected, in_order="ORDER BY" in text)
