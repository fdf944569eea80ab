"""Syntax nodes of our own: what sqlglot has no node for."""

from typing import ClassVar

from sqlglot import exp


class Plus(exp.Unary):
    """A sign that changes nothing: sqlglot would drop it, before a text too."""


class Joined(exp.Expression):
    """Joins in brackets: the first of FROM's items, and what is joined to it."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "joins": True}
