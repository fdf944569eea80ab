"""``python -m fuzz --seed 1 --queries 100000 --state FILE``: resumable fuzzing.

Run it again with the same state file and it goes on where it stopped. It prints what it
hit and what was refused, and writes differences, minimised, beside the state. Each
process asks whole catalogs, one after the other.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor
from concurrent.futures import wait as completed
from multiprocessing import get_context
from pathlib import Path

from fuzz.asking import ask
from fuzz.fuzzer import QUERIES_A_CATALOG
from fuzz.tally import State, Tally, planner_now


def main() -> int:
    options = _options()
    planner, state = planner_now(), State.read(options.state)
    before, begun = state.whole.queries, time.monotonic()
    for catalog, tally, found in _asked(options, state):
        state.add(planner, catalog, tally)
        state.write(options.state)
        _note(options.found, found)
        whole = state.whole
        speed = (whole.queries - before) / (time.monotonic() - begun)
        print(f"{whole.line}; {speed:.0f} queries a second", flush=True)
    print(state.report(planner, options.wanted))
    return 1 if state.tallies.get(planner, Tally()).different else 0


def _options():
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--queries", type=int, default=100_000, help="of all runs")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--found", type=Path, help="where differences are written")
    parser.add_argument("--most", type=int, default=20, help="differences that end it")
    parser.add_argument("--wanted", type=int, default=500, help="hits of each feature")
    return parser.parse_args()


def _asked(options, state: State) -> Iterator[tuple[str, Tally, list[str]]]:
    """Give catalogs to the processes until there is enough; yield what came of each."""
    until = time.monotonic() + 60 * options.minutes
    missing = options.queries - state.whole.queries
    different, number = 0, 0
    pool = ProcessPoolExecutor(options.workers, get_context("spawn"))
    with pool:
        running: dict[Future, str] = {}
        while running or missing > 0:
            while missing > 0 and len(running) < options.workers:
                if f"{options.seed}:{number}" not in state.done:
                    running |= _begun(pool, options.seed, number)
                    missing -= QUERIES_A_CATALOG
                number += 1
            for future in completed(running, return_when=FIRST_COMPLETED).done:
                tally, found = future.result()
                different += tally.different
                yield running.pop(future), tally, found
            if time.monotonic() > until or different >= options.most:
                missing = 0


def _begun(pool: Executor, seed: int, number: int) -> dict[Future, str]:
    return {pool.submit(ask, seed, number): f"{seed}:{number}"}


def _note(path: Path | None, found: list[str]) -> None:
    for text in found:
        print(text, flush=True)
        if path:
            with path.open("a", encoding="utf-8") as file:
                file.write(text)


if __name__ == "__main__":
    sys.exit(main())
