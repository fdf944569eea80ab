"""Long chains of AND and OR, made shallow: a thousand alternatives are a query too."""

from typing import Any, Final

from sqlglot import exp

FEW: Final = 64
"""Chains of no more operands than this are left as they are."""


def balance(tree: exp.Expr) -> None:
    """Halve long chains of AND and of OR, in place; their order stays.

    sqlglot makes a chain of n as n levels, and everything that walks over a tree calls
    itself for each level.
    """
    for node in list(tree.find_all(exp.And, exp.Or)):
        if type(node.parent) is not type(node):
            operands = _operands(node)
            if len(operands) > FEW:
                node.replace(_halved(type(node), operands))


def _operands(node: Any) -> list[Any]:
    kind, operands = type(node), []
    while type(node) is kind:
        operands.append(node.expression)
        node = node.this
    return [node, *reversed(operands)]


def _halved(kind: type[exp.Connector], operands: list[Any]) -> exp.Expr:
    if len(operands) == 1:
        only: exp.Expr = operands[0]
        return only
    half = len(operands) // 2
    left, right = _halved(kind, operands[:half]), _halved(kind, operands[half:])
    return kind(this=left, expression=right)
