"""Copies that queries may still ask for, though no new query does."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from qserv.czar.holdings import State


@dataclass(frozen=True, slots=True)
class _Leaving:
    """What was taken out of the placement while some queries ran."""

    queries: frozenset[str]
    placed: Mapping[str, Mapping[int, tuple[str, ...]]]
    copies: Mapping[str, frozenset[int]]


class Leavers:
    """Workers keep what they are to drop until no query may ask for it.

    Parameters
    ----------
    running
        Returns the ids of the queries that run.
    """

    def __init__(self, running: Callable[[], Collection[str]]) -> None:
        self._running = running
        self._waiting: list[_Leaving] = []

    @property
    def waiting(self) -> int:
        """How often something was taken out that queries may still ask for."""
        self._forget()
        return len(self._waiting)

    def _forget(self) -> None:
        running = set(self._running())
        self._waiting = [w for w in self._waiting if w.queries & running]

    def add(
        self,
        before: State,
        placed: Mapping[str, Collection[int]],
        copies: Mapping[str, Collection[int]],
    ) -> None:
        """Remember what queries that run now may still ask for.

        Parameters
        ----------
        before
            What there was.
        placed
            Family -> chunks that are placed otherwise now.
        copies
            Worker -> numbers of the files that it shall drop.
        """
        self._waiting.append(
            _Leaving(
                frozenset(self._running()),
                {
                    name: {c: before.groups[name].placement[c] for c in chunks}
                    for name, chunks in placed.items()
                },
                {worker: frozenset(numbers) for worker, numbers in copies.items()},
            )
        )

    def may_drop(self, worker: str, leaving: Mapping[int, frozenset[str]]) -> list[int]:
        """Return the files that a worker may drop now.

        Parameters
        ----------
        worker
            Its id.
        leaving
            Number -> the workers that have yet to drop the file.
        """
        kept = self._kept(worker)
        return [
            n for n, workers in leaving.items() if worker in workers and n not in kept
        ]

    def _kept(self, worker: str) -> set[int]:
        self._forget()
        return {n for each in self._waiting for n in each.copies.get(worker, ())}

    def before(self, state: State) -> State:
        """Return a state in which what queries may still ask for is in its place."""
        self._forget()
        for each in self._waiting:
            both = {
                name: {c: _both(state, name, c, held) for c, held in chunks.items()}
                for name, chunks in each.placed.items()
            }
            state = state.with_placement(both)
            for worker, numbers in each.copies.items():
                state = state.with_copies(worker, numbers)
        return state


def _both(
    state: State, family: str, chunk: int, held: tuple[str, ...]
) -> tuple[str, ...]:
    now = state.groups[family].placement.get(chunk, ())
    return tuple(dict.fromkeys((*now, *held)))
