"""Read and rewrite queries at any depth: subqueries, operands, queries in FROM."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

from qserv.plan.expressions import (
    ColumnRef,
    Exists,
    Expression,
    InQuery,
    Scalar,
    map_children,
    walk,
)
from qserv.plan.query import (
    Body,
    Combined,
    Relation,
    Select,
    Shared,
    bodies,
    clauses,
    map_clauses,
)

Ref = Callable[[ColumnRef], Expression]
Place = Callable[[Relation], Relation]


def _same(relation: Relation) -> Relation:
    return relation


def substitute(node: Expression, ref: Ref, relation: Place = _same) -> Expression:
    """Rewrite an expression's column references, and all there is in its subqueries.

    Parameters
    ----------
    node
        The expression.
    ref
        What a column reference becomes.
    relation
        What a relation of a subquery becomes, after all inside it was rewritten.
    """
    if isinstance(node, ColumnRef):
        return ref(node)
    changed = map_children(node, lambda part: substitute(part, ref, relation))
    if isinstance(changed, Exists | InQuery | Scalar):
        return replace(changed, body=rebuild(changed.body, ref, relation))
    return changed


def rebuild(body: Body, ref: Ref, relation: Place = _same) -> Body:
    """Rewrite the column references and relations of a query, at any depth."""
    if isinstance(body, Combined):
        left, right = (rebuild(b, ref, relation) for b in (body.left, body.right))
        return replace(body, left=left, right=right)

    def inside(of: Relation) -> Relation:
        match of.source:
            case Select() | Combined() as inner:
                of = replace(of, source=rebuild(inner, ref, relation))
            case Shared() as shared:
                inner = rebuild(shared.body, ref, relation)
                of = replace(of, source=replace(shared, body=inner))
            case _:
                pass
        return relation(of)

    changed = map_clauses(body, lambda node: substitute(node, ref, relation))
    return replace(changed, relations=tuple(map(inside, changed.relations)))


def renumbered(body: Body, numbers: "count[int]") -> Body:
    """Return a copy of a query whose relations have numbers of their own."""
    fresh = {number: next(numbers) for number in dict.fromkeys(defined(body))}

    def ref(node: ColumnRef) -> ColumnRef:
        return replace(node, relation=fresh.get(node.relation, node.relation))

    return rebuild(body, ref, lambda r: replace(r, number=fresh[r.number]))


def references(body: Body) -> Iterator[ColumnRef]:
    """Yield the column references of a query, at any depth."""
    if isinstance(body, Select):
        for clause in clauses(body):
            yield from (n for n in walk(clause) if isinstance(n, ColumnRef))
    for inner in bodies(body):
        yield from references(inner)


def defined(body: Body) -> Iterator[int]:
    """Yield the numbers of the relations of a query, at any depth."""
    if isinstance(body, Select):
        yield from (r.number for r in body.relations)
    for inner in bodies(body):
        yield from defined(inner)


def has_value(body: Body) -> bool:
    """Whether a subquery that stands for a value is in a query, at any depth."""
    if isinstance(body, Select):
        every = (node for clause in clauses(body) for node in walk(clause))
        if any(isinstance(node, Scalar) for node in every):
            return True
    return any(map(has_value, bodies(body)))


def free(body: Body) -> frozenset[int]:
    """Return the relations of outer queries that a query refers to."""
    return frozenset(r.relation for r in references(body)) - frozenset(defined(body))


def refs_of(node: Expression) -> Iterator[ColumnRef]:
    """Yield the column references of an expression, those of subqueries too."""
    for part in walk(node):
        if isinstance(part, ColumnRef):
            yield part
        elif isinstance(part, Exists | InQuery | Scalar):
            outer = free(part.body)
            yield from (r for r in references(part.body) if r.relation in outer)


def relations_of(node: Expression) -> frozenset[int]:
    """Return the numbers of the relations that an expression depends on."""
    return frozenset(ref.relation for ref in refs_of(node))
