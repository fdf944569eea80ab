"""Reads YAML that people wrote: every error names the file and the place inside."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from qserv.errors import InvalidRequest


def load(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises
    ------
    InvalidRequest
        If it cannot be read or is not YAML.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return yaml.safe_load(file)
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path}: is not YAML: {error}") from error


@dataclass(frozen=True, slots=True)
class Place:
    """A place inside a YAML file, so that every error can name it.

    Parameters
    ----------
    path
        The file.
    inside
        The way from its top, such as ``tables[3].columns[0]``; empty at the top.
    """

    path: Path
    inside: str

    def at(self, key: str | int) -> "Place":
        """Return the place one step further in."""
        step = f"[{key}]" if isinstance(key, int) else f".{key}" if self.inside else key
        return Place(self.path, f"{self.inside}{step}")

    def wrong(self, what: str) -> InvalidRequest:
        """Return the error that says what is wrong here."""
        return InvalidRequest(f"{self.path}: {self.inside or 'the file'} {what}")

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

    def text(self, item: Any, key: str, default: str | None = None) -> str:
        """Return the text under `key`; raises `InvalidRequest` if it is none."""
        found = self._get(item, key, default)
        if not isinstance(found, str) or (default is None and not found):
            raise self.at(key).wrong(f"must be text, not {found!r}")
        return found

    def truth(self, item: Any, key: str, default: bool) -> bool:
        """Return the truth value under `key`; raises `InvalidRequest`."""
        found = self._get(item, key, default)
        if not isinstance(found, bool):
            raise self.at(key).wrong(f"must be true or false, not {found!r}")
        return found

    def _get(self, item: Any, key: str, default: Any = None) -> Any:
        if not isinstance(item, dict):
            raise self.wrong("must be a mapping")
        found = item.get(key)
        found = default if found is None else found
        if found is None:
            raise self.wrong(f"lacks the key {key}")
        return found
