"""Syntax nodes of our own: what sqlglot has no node for."""

from typing import ClassVar

from sqlglot import exp


class Plus(exp.Unary):
    """A sign that changes nothing: sqlglot would drop it, before a text too."""


class Joined(exp.Expression):
    """Joins in brackets: the first of FROM's items, and what is joined to it."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "joins": True}


class LongList(exp.Expression):
    """The items of a long IN list: whole numbers, other numbers or texts, all alike.

    ``this`` numbers the lists of a text; ``items`` is a tuple, no part of the tree.
    """

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "items": False}

    @property
    def values(self) -> tuple[int, ...] | tuple[float, ...] | tuple[str, ...]:
        """The items, in order."""
        items: tuple[int, ...] | tuple[float, ...] | tuple[str, ...] = self.args[
            "items"
        ]
        return items
