"""``python -m fuzz --seed 1 --queries 100000 --state FILE``: resumable fuzzing.

Run it again with the same state file and it goes on where it stopped. It prints what it
hit and what was refused, and writes differences, minimised, beside the state.
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

from fuzz.compare import DIFFERENT, told
from fuzz.fuzzer import Tally, minimised, one, queries


def main() -> int:
    options = _options()
    tally = _read(options.state)
    start = tally.queries
    until = time.monotonic() + 60 * options.minutes
    begun, seen = time.monotonic(), Counter()
    for number, body, known, rng in queries(options.seed, start):
        if tally.queries >= options.queries or time.monotonic() > until:
            break
        outcome, chosen = one(body, known, rng)
        tally.add(outcome)
        if outcome.kind == DIFFERENT:
            alike = outcome.message[:60] if "fails" in outcome.message else str(number)
            seen[alike] += 1
            if seen[alike] <= 2:
                _note(options, number, body, known, chosen, outcome)
            if len(seen) >= options.most:
                break
        if tally.queries % 500 == 0:
            speed = (tally.queries - start) / (time.monotonic() - begun)
            print(
                f"{tally.queries} queries, {tally.refused} refused, "
                f"{tally.different} different, {speed:.0f} a second",
                flush=True,
            )
            _write(options.state, tally)
    _write(options.state, tally)
    report(tally, options.wanted)
    return 1 if tally.different else 0


def _options():
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--found", type=Path, help="where differences are written")
    parser.add_argument("--most", type=int, default=20, help="differences that end it")
    parser.add_argument("--wanted", type=int, default=500, help="hits of each feature")
    return parser.parse_args()


def _note(options, number, body, known, chosen, outcome) -> None:
    small, again = minimised(body, known, chosen)
    if again.kind != DIFFERENT:
        small, again = body, outcome
    text = f"### seed {options.seed}, query {number}, catalog {known.seed}, {chosen}\n"
    text += told(small, again) + "\n\n"
    print(text, flush=True)
    if options.found:
        with options.found.open("a", encoding="utf-8") as file:
            file.write(text)


def _read(path: Path | None) -> Tally:
    if path is None or not path.exists():
        return Tally()
    kept = json.loads(path.read_text(encoding="utf-8"))
    for name in ("hits", "refusals"):
        kept[name] = Counter(kept[name])
    return Tally(**kept)


def _write(path: Path | None, tally: Tally) -> None:
    if path is not None:
        path.write_text(json.dumps(vars(tally)), encoding="utf-8")


def report(tally: Tally, wanted: int) -> None:
    """Print what was hit, least first, and what was refused."""
    for name, hits in sorted(tally.hits.items(), key=lambda item: item[1]):
        print(f"{'  ' if hits >= wanted else '! '}{hits:7} {name}")
    print("refused:")
    for message, count in tally.refusals.most_common(60):
        print(f"  {count:7} {message}")
    print(
        f"{tally.queries} queries: {tally.same} the same, {tally.refused} refused, "
        f"{tally.different} different; {tally.rows} rows"
    )


if __name__ == "__main__":
    sys.exit(main())
