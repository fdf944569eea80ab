"""ADQL 2.1 as a dialect of sqlglot: text in, syntax tree out.

Every function call stays a plain call: what it means is decided in one place
(`qserv.plan.functions`), never by sqlglot's guesses about other databases. What sqlglot
reads and ADQL does not have is refused (`qserv.dialects.grammar`).
"""

from typing import ClassVar, Final

import sqlglot.errors
from sqlglot import exp, parser, tokens
from sqlglot.dialects.dialect import Dialect
from sqlglot.tokenizer_core import Token, TokenType

from qserv.dialects import grammar, limits, longlist, windows
from qserv.dialects.chains import balance
from qserv.dialects.geometry import canonical
from qserv.dialects.nodes import LongList, Plus
from qserv.dialects.queries import Query, QueryParser, plain
from qserv.errors import LimitExceeded, ParseError

_WORDS: Final = """
    SELECT TOP DISTINCT ALL AS FROM WHERE HAVING LIMIT OFFSET FETCH ASC DESC
    JOIN INNER LEFT RIGHT FULL OUTER CROSS NATURAL ON USING SEMI ANTI ASOF LATERAL
    AND OR NOT IS NULL TRUE FALSE IN BETWEEN LIKE ILIKE ESCAPE EXISTS ANY SOME
    CASE WHEN THEN ELSE END UNION EXCEPT INTERSECT WITH RECURSIVE INTO TABLESAMPLE
    OVER ROWS RANGE FILTER WINDOW
    SMALLINT INT INTEGER BIGINT REAL DOUBLE CHAR VARCHAR TIMESTAMP
    || <= >= <> !=
"""
_PAIRS: Final = ("GROUP BY", "ORDER BY", "PARTITION BY", "DOUBLE PRECISION")
_KEYWORDS: Final = frozenset((*_WORDS.split(), *_PAIRS))
"""What sqlglot may take for more than a name; some only to be refused by name."""


class Adql(Dialect):
    """The grammar that differs from sqlglot's own: TOP, quotes, comments, calls."""

    NULL_ORDERING = "nulls_are_last"

    class Tokenizer(tokens.Tokenizer):
        """ADQL's lexis: '' in texts, "" in names, -- before comments."""

        QUOTES: ClassVar = ["'"]
        IDENTIFIERS: ClassVar = ['"']
        STRING_ESCAPES: ClassVar = ["'"]
        COMMENTS: ClassVar = ["--"]
        COMMANDS: ClassVar = set()
        KEYWORDS: ClassVar = {
            **{k: t for k, t in tokens.Tokenizer.KEYWORDS.items() if k in _KEYWORDS},
            "TOP": TokenType.TOP,
        }

    class Parser(QueryParser):
        """Calls stay calls; only CAST has a grammar of its own."""

        STATEMENT_PARSERS: ClassVar = {}
        FUNCTIONS: ClassVar = {}
        NO_PAREN_FUNCTIONS: ClassVar = {}
        FUNCTION_PARSERS: ClassVar = {
            "CAST": parser.Parser.FUNCTION_PARSERS["CAST"],
        }
        PRIMARY_PARSERS: ClassVar = {
            **parser.Parser.PRIMARY_PARSERS,
            longlist.WORD: lambda self, token: self.expression(
                LongList(this=token.text)
            ),
        }
        UNARY_PARSERS: ClassVar = {
            **parser.Parser.UNARY_PARSERS,
            TokenType.PLUS: lambda self: self.expression(
                Plus(this=self._parse_unary())
            ),
        }


def parse(text: str) -> Query:
    """Parse one ADQL query, its geometry made canonical, its queries without brackets.

    Parameters
    ----------
    text
        The query.

    Returns
    -------
    sqlglot.exp.Select or sqlglot.exp.SetOperation
        The syntax tree.

    Raises
    ------
    ParseError
        If it is not one query; says line and column.
    LimitExceeded
        If the text is too long or too deep.
    UnsupportedQuery
        If it is a query of a kind that is not answered yet.
    """
    limits.check_text(text)
    try:
        return _tree(text)
    except sqlglot.errors.ParseError as error:
        raise ParseError(_explain(error)) from error
    except sqlglot.errors.TokenError as error:
        raise ParseError("a text or a name in quotes is left open") from error
    except RecursionError as error:
        raise LimitExceeded("the query is nested too deeply: take it apart") from error


def _tree(text: str) -> Query:
    rest, cuts = longlist.cut(text)
    limits.check_rest(rest)
    heard = Adql().tokenize(rest)
    longlist.heard_whole(text, cuts, heard)
    limits.check_words(heard)
    tree = _parsed(text, heard)
    grammar.check(tree, text, heard)
    longlist.restore(tree, cuts)
    query = plain(tree)
    if any(token.token_type in windows.WORDS for token in heard):
        windows.write_out(query)
    balance(query)
    canonical(query)
    return query


def _parsed(text: str, heard: list[Token]) -> exp.Expr:
    if not heard or heard[0].token_type not in _BEGINNINGS:
        first = heard[0].text.upper() if heard else "empty"
        raise ParseError(f"a query starts with SELECT, this is {first}")
    last = len(heard)
    while heard[last - 1].token_type == TokenType.SEMICOLON:
        last -= 1
    for token in heard:
        # In a comment, ``sqlglot.meta line=x`` would say where a node stands.
        token.comments = []
    trees = [tree for tree in Adql().parser().parse(heard[:last], text) if tree]
    if len(trees) != 1:
        raise ParseError(f"one query is expected, not {len(trees)}")
    return trees[0]


_BEGINNINGS: Final = {TokenType.SELECT, TokenType.WITH, TokenType.L_PAREN}


def _explain(error: sqlglot.errors.ParseError) -> str:
    if not error.errors:
        return str(error)
    first = error.errors[0]
    column = first["col"] - len(first["highlight"] or "") + 1
    where = f"line {first['line']}, column {column}"
    near = f"{(first['start_context'] or '')[-30:]}«{(first['highlight'] or '')[:30]}»"
    if first["description"].startswith("Required keyword"):
        return f"{where}: something is missing, near {near}"
    return f"{where}: this does not belong here, near {near}"
