"""What an expression may cost before any row is read.

DuckDB puts a macro's argument into its body as often as it stands there, so functions
inside functions grow by powers of two: twenty square roots keep it busy for minutes.
"""

from dataclasses import dataclass
from typing import Final

from qserv.errors import LimitExceeded
from qserv.plan import functions
from qserv.plan.expressions import Call, Expression, children
from qserv.plan.query import Select

MOST_LEVELS: Final = 12
MOST_RELATIONS: Final = 64
"""In one FROM, with those of the subqueries and views that are merged into it: the
time to find a plan grows with the square of them, here and in DuckDB."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """From which size on rows stay among the workers.

    Parameters
    ----------
    broadcast
        Bytes that are sent to every worker; of two sides that are larger, both are
        spooled by hash.
    merge
        Bytes that the czar merges; more is merged by the workers, bucket by bucket.
    bucket
        Bytes that one bucket shall have.
    """

    broadcast: float = 64 * 2**20
    merge: float = 512 * 2**20
    bucket: float = 32 * 2**20


DEFAULT_SIZES: Final = Sizes()


def check_relations(body: Select) -> None:
    """Check that a SELECT does not join too many relations.

    Raises
    ------
    LimitExceeded
        If it does.
    """
    if (joined := len(body.relations)) > MOST_RELATIONS:
        raise LimitExceeded(
            f"a FROM joins {joined} tables, with those of its subqueries and views; "
            f"{MOST_RELATIONS} are allowed"
        )


def check_levels(node: Expression) -> None:
    """Check that an expression is not too many functions deep.

    Raises
    ------
    LimitExceeded
        If it is.
    """
    if (levels := _levels(node)) > MOST_LEVELS:
        raise LimitExceeded(
            f"functions and divisors stand {levels} deep in each other, "
            f"{MOST_LEVELS} are allowed"
        )


def _levels(node: Expression) -> int:
    below = [_levels(child) for child in children(node)]
    if isinstance(node, Call) and functions.repeats(node.function):
        # The divisor is repeated, to see whether it is 0; what it divides is not.
        first = 1 if node.function in {"/", "//", "MOD"} else 0
        below[first:] = [level + 1 for level in below[first:]]
    return max(below, default=0)
