"""Reads YAML that people wrote: every error names the file, the line and the place."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import Repr
from typing import Any, Final

import yaml
from typing_extensions import override

from qserv.errors import InvalidRequest

_SHORT: Final = Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 80, 80


class _Loader(yaml.CSafeLoader):
    """Reads plain values, and refuses a mapping that has a key twice."""

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        """Return a mapping; without the check the last of two keys would win."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value} stands there twice",
                    problem_mark=key.start_mark,
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


def load(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises
    ------
    InvalidRequest
        If it cannot be read or is not YAML.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return yaml.load(file, Loader=_Loader)  # noqa: S506 a safe loader
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise InvalidRequest(f"{path}{where}: is not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{path}: is not YAML: {error}") from error


def shown(value: Any) -> str:
    """Return a value for people; with aliases, some lines of YAML make gigabytes."""
    return _SHORT.repr(value)


@dataclass(frozen=True, slots=True)
class Place:
    """A place inside a YAML file, so that every error can name it.

    Parameters
    ----------
    path
        The file.
    steps
        The way from its top, such as ``("tables", 3, "name")``; empty at the top.
    """

    path: Path
    steps: tuple[str | int, ...] = ()

    @property
    def inside(self) -> str:
        """The way from the top as people read it, such as ``tables[3].name``."""
        steps = (f"[{s}]" if isinstance(s, int) else f".{s}" for s in self.steps)
        return "".join(steps).removeprefix(".")

    def at(self, *steps: str | int) -> "Place":
        """Return the place further in."""
        return Place(self.path, (*self.steps, *steps))

    def wrong(self, what: str) -> InvalidRequest:
        """Return the error that says what is wrong here."""
        place = self.inside or "the file"
        return InvalidRequest(f"{self.path}, line {self.line}: {place} {what}")

    @property
    def line(self) -> int:
        """The line on which the place begins, or the nearest place around it."""
        with self.path.open(encoding="utf-8") as file:
            # Only errors ask, so the file is parsed once more, with its marks.
            return _line(yaml.compose(file, Loader=yaml.CSafeLoader), self.steps)

    def mapping(self, item: Any, key: str) -> dict[str, Any]:
        """Return the mapping under `key`; raises `InvalidRequest` if it is none."""
        found = self._get(item, key)
        if not isinstance(found, dict):
            raise self.at(key).wrong("must map names to entries")
        return found

    def sequence(self, item: Any, key: str) -> list[Any]:
        """Return the list under `key`; raises `InvalidRequest` if it is none."""
        found = self._get(item, key)
        if not isinstance(found, list):
            raise self.at(key).wrong("must be a list")
        return found

    def texts(self, item: Any, key: str) -> tuple[str, ...]:
        """Return the texts under `key`; raises `InvalidRequest` if it has others."""
        found = self.sequence(item, key)
        for i, text in enumerate(found):
            if not isinstance(text, str):
                raise self.at(key, i).wrong(
                    f"must be text, not {shown(text)}: quote it"
                )
        return tuple(found)

    def text(self, item: Any, key: str, default: str | None = None) -> str:
        """Return the text under `key`; raises `InvalidRequest` if it is none."""
        found = self._get(item, key, default)
        if not isinstance(found, str) or (default is None and not found):
            raise self.at(key).wrong(f"must be text, not {shown(found)}")
        return found

    def _get(self, item: Any, key: str, default: Any = None) -> Any:
        if not isinstance(item, dict):
            raise self.wrong("must be a mapping")
        found = item.get(key)
        found = default if found is None else found
        if found is None:
            raise self.wrong(f"lacks the key {key}")
        return found


def _line(node: yaml.Node | None, steps: Sequence[str | int]) -> int:
    if node is None:
        return 1
    line: int = node.start_mark.line + 1
    for step in steps:
        key, node = _inner(node, step)
        if node is None:
            return line
        line = (key or node).start_mark.line + 1
    return line


def _inner(
    node: yaml.Node, step: str | int
) -> tuple[yaml.Node | None, yaml.Node | None]:
    """Return key and value one step inside a node; None where it has no such."""
    match node:
        case yaml.MappingNode():
            pairs = (pair for pair in node.value if pair[0].value == str(step))
            return next(pairs, (None, None))
        case yaml.SequenceNode() if isinstance(step, int) and step < len(node.value):
            return None, node.value[step]
    return None, None
