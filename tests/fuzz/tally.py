"""What a fuzzer has done so far: counted, kept in a file, and told."""

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.compare import DIFFERENT, REFUSED, Outcome

import qserv.plan


@dataclass
class Tally:
    """Counts of queries, of what they hit and of what was refused."""

    queries: int = 0
    same: int = 0
    refused: int = 0
    different: int = 0
    rows: int = 0
    hits: Counter = field(default_factory=Counter)
    refusals: Counter = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count one query."""
        self.queries += 1
        if outcome.kind == REFUSED:
            self.refused += 1
            self.refusals[_general(outcome.message)] += 1
        elif outcome.kind == DIFFERENT:
            self.different += 1
        else:
            self.same += 1
            self.rows += outcome.rows
            self.hits.update(outcome.hits)

    def merge(self, other: "Tally") -> None:
        """Count what another has counted."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def line(self) -> str:
        return (
            f"{self.queries} queries: {self.same} the same, {self.refused} refused, "
            f"{self.different} different; {self.rows} rows"
        )


def _general(message: str) -> str:
    """Leave names, numbers and places out of a refusal, so that like ones add up."""
    text = re.sub(r"line \d+, column \d+: ", "", message)
    text = re.sub(r"\b[a-g o]\d+\b", "x", text)
    return re.sub(r"\d[\d.,e+-]*", "#", text)[:150]


@dataclass
class State:
    """The tallies of all runs: per state of the planner's sources, which change."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    """Catalogs that were asked all their queries, as ``seed:number``."""

    @classmethod
    def read(cls, path: Path | None) -> "State":
        if path is None or not path.exists():
            return cls()
        kept = json.loads(path.read_text(encoding="utf-8"))
        tallies = {name: _tally(counts) for name, counts in kept["tallies"].items()}
        return cls(tallies, set(kept["done"]))

    def write(self, path: Path | None) -> None:
        """Keep it; a reader finds the old state or the new, never a half."""
        if path is None:
            return
        kept = {n: vars(t) for n, t in self.tallies.items()}
        part = path.with_suffix(".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"tallies": kept, "done": sorted(self.done)})
        part.write_text(text, encoding="utf-8")
        part.replace(path)

    def add(self, planner: str, catalog: str, tally: Tally) -> None:
        """Count the queries of one catalog, asked of a planner in some state."""
        self.tallies.setdefault(planner, Tally()).merge(tally)
        self.done.add(catalog)

    @property
    def whole(self) -> Tally:
        """All queries ever."""
        found = Tally()
        for tally in self.tallies.values():
            found.merge(tally)
        return found

    def report(self, planner: str, wanted: int) -> str:
        """Say what was hit, least first, what was refused, and how much was asked."""
        whole, now = self.whole, self.tallies.get(planner, Tally())
        hits = sorted(whole.hits.items(), key=lambda item: item[1])
        lines = [f"{' ' if n >= wanted else '!'} {n:7} {name}" for name, n in hits]
        lines += ["refused:"]
        lines += [f"  {n:7} {text}" for text, n in whole.refusals.most_common(60)]
        lines += [f"in all {whole.line}", f"since plan/ changed {now.line}"]
        return "\n".join(lines)


def _tally(counts: dict) -> Tally:
    for name in ("hits", "refusals"):
        counts[name] = Counter(counts[name])
    return Tally(**counts)


def planner_now() -> str:
    """Return the digest of the planner's sources."""
    digest = hashlib.sha256()
    for path in sorted(Path(qserv.plan.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
