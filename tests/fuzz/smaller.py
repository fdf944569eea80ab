"""Smaller queries: what is left of one when a clause or a part is left out."""

import copy
from collections.abc import Callable, Iterator

from fuzz.nodes import Body, Node, Select, SetOp, Source, walk


def smaller(body: Body) -> Iterator[Body]:
    """Yield copies of a query, each without one of its clauses or parts."""
    for number in range(len(list(_cuts(body)))):
        made = copy.deepcopy(body)
        list(_cuts(made))[number]()
        yield made
    for thing in walk(body):
        if isinstance(thing, SetOp) and thing is body:
            yield from (copy.deepcopy(thing.left), copy.deepcopy(thing.right))


def _cuts(body: Body) -> Iterator[Callable[[], None]]:
    for thing in walk(body):
        match thing:
            case Select():
                yield from _cuts_of_select(thing, outermost=thing is body)
            case SetOp():
                yield _emptied(thing, "orders", thing.limit is None)
            case Source():
                yield from (_dropped(thing.on, i) for i in range(len(thing.on)))
            case Node() if thing.kind == "bool" and len(thing.parts) > 1:
                for part in thing.parts:
                    if isinstance(part, Node) and part.kind == "bool":
                        yield _became(thing, part)


def _cuts_of_select(body: Select, *, outermost: bool) -> Iterator[Callable[[], None]]:
    for name in ("where", "having", "groups"):
        items = getattr(body, name)
        yield from (_dropped(items, i) for i in range(len(items)))
    if outermost and len(body.outputs) > 1 and not body.star:
        yield from (_dropped(body.outputs, i) for i in range(len(body.outputs)))
    if len(body.sources) > 1:
        yield from (_dropped(body.sources, i) for i in range(1, len(body.sources)))
    yield _set(body, "limit", None)
    yield _set(body, "offset", 0)
    yield _set(body, "distinct", False)
    yield _emptied(body, "orders", body.limit is None)
    yield _emptied(body, "ctes", True)


def _dropped(items: list, place: int) -> Callable[[], None]:
    return lambda: items.pop(place) and None


def _set(thing, name: str, value) -> Callable[[], None]:
    return lambda: setattr(thing, name, value)


def _emptied(thing, name: str, allowed: bool) -> Callable[[], None]:
    return lambda: setattr(thing, name, [] if allowed else getattr(thing, name))


def _became(node: Node, part: Node) -> Callable[[], None]:
    return lambda: node.__dict__.update(part.__dict__)
