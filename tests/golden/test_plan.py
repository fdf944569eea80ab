"""Plans as text, each also run: what a plan says must be what the oracle answers."""

import pytest
from golden import runner
from support.chunks import Chunks, without_pruning
from support.oracle import Oracle, same
from support.survey import survey

from qserv.errors import QservError
from qserv.plan.explain import explain
from qserv.plan.plan import KeyRestrictor
from qserv.plan.planner import plan
from qserv.plan.route import route


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
            check(case.text, chunks.run(made, batch), made, chunks, oracle)
        if made.fragment is not None:
            everywhere = chunks.run(without_pruning(made))
            check(case.text, everywhere, made, chunks, oracle)
        sent = made.fragment.restrictors if made.fragment else ()
        homes = {r: chunks.homes(r) for r in sent if isinstance(r, KeyRestrictor)}
        return explain(made, route(made, chunks.snapshot, homes))

    runner.check(path, answer, rewrite=rewrite)


def check(text, found, made, chunks, oracle):
    expected = oracle.answer(text, chunks.snapshot)
    if made.fragment is not None and made.fragment.limit is not None:
        # Any rows will do: as many, and all of them among those that qualify.
        everything = oracle.answer(text.replace("TOP 10 ", ""), chunks.snapshot)
        assert found.num_rows == expected.num_rows
        assert set(zip(*found.to_pydict().values(), strict=True)) <= set(
            zip(*everything.to_pydict().values(), strict=True)
        )
        return
    same(found, expected, in_order="ORDER BY" in text)
