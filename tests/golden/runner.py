"""Golden text files: cases of ``command args / input / ---- / expected``.

A line ``----`` ends the input; a blank line ends the expected text. Expected text that
holds blank lines stands between two pairs of ``----`` lines. ``#`` starts a comment
between cases. ``pytest --rewrite`` writes what was answered as the new expectation.
"""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

FENCE = "----"


@dataclass
class Case:
    """One case; `arguments` holds ``name=value`` words, `flags` the bare words."""

    place: str
    command: str
    text: str
    expected: str
    flags: list[str] = field(default_factory=list)
    arguments: dict[str, str] = field(default_factory=dict)


def files(folder: str) -> list[Path]:
    """Return the golden files below ``tests/golden/<folder>``, sorted."""
    found = sorted((Path(__file__).parent / folder).glob("*.test"))
    assert found, f"no golden files in {folder}"
    return found


def check(path: Path, answer: Callable[[Case], str], *, rewrite: bool = False) -> None:
    """Compare `answer` of each case in order with its expected text, or rewrite it."""
    out: list[str] = []
    for part in _parts(path):
        if isinstance(part, str):
            out.append(part)
            continue
        case, head = part
        got = answer(case).strip("\n")
        if not rewrite:
            assert got == case.expected, (
                f"{case.place}: {case.command}\n--- expected\n{case.expected}\n"
                f"--- got\n{got}\n(pytest --rewrite accepts it)"
            )
        out.append(head + _fenced(got))
    if rewrite:
        path.write_text("".join(out), encoding="utf-8")


def _fenced(text: str) -> str:
    if "\n\n" in text or text.startswith(FENCE):
        return f"{FENCE}\n{FENCE}\n{text}\n{FENCE}\n{FENCE}\n"
    return f"{FENCE}\n{text}\n" if text else f"{FENCE}\n"


def _parts(path: Path) -> Iterator[str | tuple[Case, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].strip() or lines[at].startswith("#"):
            yield lines[at] + "\n"
            at += 1
            continue
        start, fence = at, lines.index(FENCE, at)
        expected, at = _expected(lines, fence + 1)
        command, *words = shlex.split(lines[start])
        case = Case(
            place=f"{path.name}:{start + 1}",
            command=command,
            text="\n".join(lines[start + 1 : fence]),
            expected=expected,
            flags=[word for word in words if "=" not in word],
            arguments=dict(word.split("=", 1) for word in words if "=" in word),
        )
        yield case, "\n".join(lines[start:fence]) + "\n"


def _expected(lines: list[str], at: int) -> tuple[str, int]:
    if at < len(lines) and lines[at] == FENCE:
        end = at + 1
        while lines[end : end + 2] != [FENCE, FENCE]:
            end += 1
        return "\n".join(lines[at + 1 : end]).strip("\n"), end + 2
    end = at
    while end < len(lines) and lines[end].strip():
        end += 1
    return "\n".join(lines[at:end]), end
