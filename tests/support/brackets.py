"""A tree of ADQL written again, with brackets round everything, for another parser.

It shares nothing with the rules of `qserv.dialects`: DuckDB reads the text and what was
made of its tree, and must find the same in both.
"""

import json
import re

import duckdb
from sqlglot import exp

from qserv.dialects.nodes import Joined, Plus

SIGNS = {
    exp.And: "AND", exp.Or: "OR", exp.Add: "+", exp.Sub: "-", exp.Mul: "*",
    exp.Div: "/", exp.DPipe: "||", exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<",
    exp.GT: ">", exp.LTE: "<=", exp.GTE: ">=", exp.Is: "IS",
}  # fmt: skip


class Reader:
    """DuckDB as a parser: what a text says, without places and spellings."""

    def __init__(self):
        self.connection = duckdb.connect()

    def read(self, text):
        """Return the syntax tree of a text, None if DuckDB cannot read it.

        DuckDB has no TOP: it is left out here, and by `written`.
        """
        text = re.sub(r"(SELECT\s+(?:(?:DISTINCT|ALL)\s+)?)TOP\s+\d+\b", r"\1", text)
        sql = (
            "SELECT json_serialize_sql(?::VARCHAR, "
            "skip_null := true, skip_empty := true)"
        )
        try:
            found = json.loads(self.connection.execute(sql, [text]).fetchone()[0])
        except duckdb.Error:
            return None
        return None if found["error"] else plain(found["statements"])


def plain(node):
    """Leave out places, defaults, and the differences between spellings."""
    if isinstance(node, list):
        return [plain(n) for n in node]
    if not isinstance(node, dict):
        return node
    node = {k: plain(v) for k, v in node.items() if not k.startswith("query_location")}
    node.pop("is_implicit", None)
    if node.get("null_order") == "NULLS LAST":
        node["null_order"] = "ORDER_DEFAULT"
    if "null_order" in node and node["type"] == "ASCENDING":
        node["type"] = "ORDER_DEFAULT"
    match node.get("type"):
        case "COMPARE_NOT_IN" | "OPERATOR_IS_NOT_NULL" as kind:
            inner = {**node, "type": kind.replace("NOT_", "")}
            alias = {"alias": inner.pop("alias")} if "alias" in inner else {}
            return {
                "class": "OPERATOR",
                "type": "OPERATOR_NOT",
                "children": [inner],
                **alias,
            }
        case "CONJUNCTION_AND" | "CONJUNCTION_OR" as kind:
            children = [
                c
                for child in node["children"]
                for c in (child["children"] if child["type"] == kind else [child])
            ]
            return {**node, "children": children}
        case "VALUE_CONSTANT" if node["literal"].get("kind") != "STRING":
            return {**node, "literal": number(node["literal"])}
    return node


def number(literal):
    text = str(literal.get("text", ""))
    return {"value": float(text)} if re.fullmatch(r"-?[0-9.eE+-]+", text) else literal


def written(node):
    """Write a tree, with brackets round every value, query and join."""
    rule = RULES.get(type(node))
    if rule is not None:
        return rule(node)
    return f"({written(node.this)} {SIGNS[type(node)]} {written(node.expression)})"


def listed(nodes):
    return ", ".join(map(written, nodes))


def query(node):
    parts = [f"WITH {listed(w.expressions)}" if (w := node.args.get("with_")) else ""]
    if isinstance(node, exp.SetOperation):
        every = "" if node.args.get("distinct") else " ALL"
        left, right = f"({query(node.this)})", f"({query(node.expression)})"
        parts += [left, node.key.upper() + every, right]
    else:
        parts += ["SELECT", "DISTINCT" if node.args.get("distinct") else ""]
        parts += [", ".join(map(item, node.expressions))]
        parts += [
            f"FROM {relations(f.this, node)}" if (f := node.args.get("from_")) else ""
        ]
        parts += [clause("WHERE", node, "where"), clause("GROUP BY", node, "group")]
        parts += [clause("HAVING", node, "having")]
    parts += [clause("ORDER BY", node, "order")]
    limit = node.args.get("limit")
    if limit is not None and not limit.meta.get("top"):
        parts += [f"LIMIT {written(limit.expression)}"]
    parts += [
        f"OFFSET {written(x.expression)}" if (x := node.args.get("offset")) else ""
    ]
    return " ".join(filter(None, parts))


def clause(words, node, key):
    found = node.args.get(key)
    if found is None:
        return ""
    return f"{words} {listed(found.expressions or [found.this])}"


def item(node):
    if isinstance(node, exp.Alias):
        return f"{written(node.this)} AS {written(node.args['alias'])}"
    if isinstance(node, exp.Star):
        return "*"
    if isinstance(node.this, exp.Star):
        return f"{written(node.args['table'])}.*"
    return written(node)


def relations(first, holder):
    """Write the left-deep joins of FROM or of brackets."""
    text = written(first)
    for join in holder.args.get("joins") or ():
        if not join.meta.get("join"):
            text = f"{text}, {written(join.this)}"
            continue
        words = filter(None, (join.method, join.side, join.kind, "JOIN"))
        text = f"{text} {' '.join(words)} {written(join.this)}"
        if on := join.args.get("on"):
            text += f" ON {written(on)}"
        if using := join.args.get("using"):
            text += f" USING ({listed(using)})"
    return text


def named(text, alias):
    if alias is None:
        return text
    columns = alias.args.get("columns")
    return f"{text} AS {written(alias.this)}" + (
        f"({listed(columns)})" if columns else ""
    )


def dotted(node, *keys):
    return ".".join(written(p) for k in keys if (p := node.args.get(k)) is not None)


def identifier(node):
    if node.args.get("quoted"):
        return '"' + node.name.replace('"', '""') + '"'
    return node.name


def call(node):
    name = node.this if isinstance(node.this, str) else written(node.this)
    given = ["*" if isinstance(a, exp.Star) else written(a) for a in node.expressions]
    return f"{name}({', '.join(given)})"


def case(node):
    text = f"CASE {written(node.this)}" if node.this else "CASE"
    for branch in node.args["ifs"]:
        text += f" WHEN {written(branch.this)} THEN {written(branch.args['true'])}"
    if default := node.args.get("default"):
        text += f" ELSE {written(default)}"
    return f"({text} END)"


def ordered(node):
    text = written(node.this) + (" DESC" if node.args.get("desc") else "")
    return text + (" NULLS FIRST" if node.args.get("nulls_first") else "")


def among(node):
    if found := node.args.get("query"):
        return f"({written(node.this)} IN ({query(found.this)}))"
    return f"({written(node.this)} IN ({listed(node.expressions)}))"


def like(node, ending=""):
    words = ("NOT " if node.args.get("negate") else "") + node.key.upper()
    return f"({written(node.this)} {words} {written(node.expression)}{ending})"


def window(node):
    parts = []
    if keys := node.args.get("partition_by"):
        parts.append(f"PARTITION BY {listed(keys)}")
    parts.append(clause("ORDER BY", node, "order"))
    if spec := node.args.get("spec"):
        start = bound(spec, "start")
        both = (
            f"BETWEEN {start} AND {bound(spec, 'end')}"
            if spec.args.get("end")
            else start
        )
        parts.append(f"{spec.args['kind']} {both}")
    return f"{written(node.this)} OVER ({' '.join(parts)})"


def bound(node, key):
    value, side = node.args[key], node.args.get(f"{key}_side")
    return f"{value if isinstance(value, str) else written(value)} {side or ''}"


def cast(node):
    kind, size = node.to.this.name, node.to.expressions
    return f"CAST({written(node.this)} AS {kind}{f'({listed(size)})' if size else ''})"


RULES = {
    exp.Select: query,
    exp.Union: query,
    exp.Except: query,
    exp.Intersect: query,
    exp.Subquery: lambda n: named(f"({query(n.this)})", n.args.get("alias")),
    exp.CTE: lambda n: f"{named('', n.args['alias'])[4:]} AS ({query(n.this)})",
    exp.Exists: lambda n: f"EXISTS ({query(n.this)})",
    exp.Table: lambda n: named(dotted(n, "catalog", "db", "this"), n.args.get("alias")),
    Joined: lambda n: f"({relations(n.this, n)})",
    exp.Column: lambda n: dotted(n, "db", "table", "this"),
    exp.Identifier: identifier,
    exp.Literal: lambda n: n.sql(),
    exp.Boolean: lambda n: str(n.this).upper(),
    exp.Null: lambda _: "NULL",
    exp.Paren: lambda n: f"({written(n.this)})",
    exp.Neg: lambda n: f"(- {written(n.this)})",
    Plus: lambda n: f"(+ {written(n.this)})",
    exp.Not: lambda n: f"(NOT {written(n.this)})",
    exp.Distinct: lambda n: f"DISTINCT {listed(n.expressions)}",
    exp.Anonymous: call,
    exp.Case: case,
    exp.Cast: cast,
    exp.DataTypeParam: lambda n: written(n.this),
    exp.Ordered: ordered,
    exp.Between: lambda n: (
        f"({written(n.this)} BETWEEN {written(n.args['low'])}"
        f" AND {written(n.args['high'])})"
    ),
    exp.In: among,
    exp.Like: like,
    exp.ILike: like,
    exp.Escape: lambda n: like(n.this, f" ESCAPE {written(n.expression)}"),
    exp.Window: window,
}
