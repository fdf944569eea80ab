"""Windows that the clause WINDOW names, written out where OVER names them."""

from typing import Any, Final

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from qserv.dialects.lexis import where_is
from qserv.errors import ParseError

WORDS: Final = {TokenType.OVER, TokenType.WINDOW}
"""A text without them has nothing to write out."""

_PARTS: Final = ("partition_by", "order", "spec")
_SAID: Final = {
    "partition_by": "PARTITION BY",
    "order": "ORDER BY",
    "spec": "ROWS or RANGE",
}


def write_out(tree: exp.Expr) -> None:
    """Replace the names of windows by what they mean, in place.

    Raises
    ------
    ParseError
        If a name means no window, or says again what its window says (SQL:2003,
        ISO/IEC 9075-2 section 7.11).
    """
    for select in list(tree.find_all(exp.Select)):
        named: dict[str, exp.Window] = {}
        for each in select.args.get("windows") or ():
            _complete(each, named)
            if each.name.lower() in named:
                raise ParseError(f"{where_is(each.this)}WINDOW names {each.name} twice")
            named[each.name.lower()] = each
        for window in list(select.find_all(exp.Window)):
            if window.find_ancestor(exp.Select) is select:
                _complete(window, named)
        select.set("windows", None)


def _complete(window: exp.Window, named: dict[str, exp.Window]) -> None:
    """Give a window what the one that it names says."""
    name: Any = window.args.get("alias")
    if name is None:
        return
    meant = named.get(name.name.lower())
    if meant is None or (name.args.get("quoted") and meant.name != name.name):
        raise ParseError(
            f"{where_is(name)}there is no window {name.name} here: "
            f"WINDOW {name.name} AS (…) names one, before it is used"
        )
    own = [k for k in _PARTS if window.args.get(k)]
    _check(window, meant, own)
    for part in _PARTS:
        if (said := meant.args.get(part)) is not None:
            window.set(part, _copied(said))
    window.set("alias", None)


def _check(window: exp.Window, meant: exp.Window, own: list[str]) -> None:
    again = [k for k in own if k == "partition_by" or meant.args.get(k)]
    if own and meant.args.get("spec"):
        again.append("spec")
    for said in (_SAID[part] for part in again):
        raise ParseError(
            f"{where_is(window.args['alias'])}{said} beside the window {meant.name}: "
            "only that one says it"
        )


def _copied(part: Any) -> Any:
    return [each.copy() for each in part] if isinstance(part, list) else part.copy()
