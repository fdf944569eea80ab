"""ADQL texts as syntax trees: lexis, precedence, and one tree for every phrasing.

``tree`` prints the canonical tree of a query, clause by clause, without brackets.
``same`` has a predicate in each line and prints the trees that they make: one, if they
say the same. ``refuse`` has a query in each line, and the error of each.
"""

import pytest
from golden import runner
from sqlglot import exp

from qserv.dialects import adql
from qserv.errors import QservError


@pytest.mark.parametrize("path", runner.files("adql"), ids=lambda p: p.stem)
def test_a_text_has_its_tree(path, rewrite):
    def answer(case):
        lines = case.text.splitlines()
        match case.command:
            case "tree":
                return "\n".join(clauses(adql.parse(case.text)))
            case "same":
                return "\n".join(dict.fromkeys(map(predicate, lines)))
            case "refuse":
                return "\n".join(map(refusal, lines))
        raise AssertionError(case.command)

    runner.check(path, answer, rewrite=rewrite)


def clauses(tree):
    if isinstance(tree, exp.SetOperation):
        yield type(tree).__name__
    for name, part in tree.args.items():
        if part:
            parts = part if isinstance(part, list) else [part]
            yield f"{name.rstrip('_')} {', '.join(map(told, parts))}"


def predicate(text):
    return told(adql.parse(f"SELECT x FROM t WHERE {text}").args["where"].this)


def refusal(text):
    with pytest.raises(QservError) as refused:
        pytest.fail(f"{text} is {adql.parse(text)!r}")
    return f"{refused.value.code} {refused.value}"


def told(node):
    """Write a node as ``Kind(part, name=part)``, names and literals as themselves."""
    match node:
        case exp.Identifier():
            return f'"{node.name}"' if node.args.get("quoted") else node.name
        case exp.Literal():
            return f"'{node.this}'" if node.is_string else node.this
        case exp.Column() | exp.Table() if not node.args.get("alias"):
            return ".".join(map(told, reversed([p for p in node.args.values() if p])))
        case exp.Paren():
            return told(node.this)
        case exp.Anonymous():
            return f"{told(node.this)}({', '.join(map(told, node.expressions))})"
        case exp.Expr():
            return f"{type(node).__name__}({', '.join(parts(node))})"
        case _:
            return str(node)


def parts(node):
    positional = {"this", "expression", "expressions"}
    for name, part in node.args.items():
        if not part or name in {"safe", "typed"}:
            continue
        text = ", ".join(map(told, part)) if isinstance(part, list) else told(part)
        yield text if name in positional else f"{name.rstrip('_')}={text}"


@pytest.mark.parametrize("text", ["SELECT a FROM t", "((SELECT a FROM t))"])
def test_a_tree_is_whole(text):
    tree = adql.parse(text)
    assert tree.parent is None
    for node in tree.walk():
        assert all(child.parent is node for child in node.iter_expressions())


def test_without_the_guard_words_would_be_ignored(monkeypatch):
    """The guarantee: nothing that is written goes unheard."""
    text = "SELECT ra, FROM Object PARTITION (p0)"
    with pytest.raises(QservError, match="does not belong here"):
        adql.parse(text)
    monkeypatch.setattr(adql.grammar, "check", lambda *_: None)
    assert adql.parse(text).expressions
