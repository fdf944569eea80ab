"""Random views of a catalog, which read tables and each other."""

from dataclasses import replace

import duckdb
from fuzz.catalogs import Catalog, catalog
from fuzz.grammar import Grammar
from fuzz.nodes import ADQL, DUCK, WORLD, Body, View, walk
from support.chunks import Chunks

from qserv.catalog import views
from qserv.errors import UserError
from qserv.plan.planner import plan

_VIEWS = 5


def viewed(seed: int) -> Catalog:
    """Make a catalog from a seed, with views."""
    known = catalog(seed)
    grammar = Grammar(known, f"{seed} views")
    for number in range(_VIEWS):
        release = grammar.rng.choice("ttvu")
        name = f"Seen{number}"
        body = grammar.view()
        grammar.ctes = []
        view = View(release, name, body.columns, said=_said(release, name, body))
        if _planned(known, view, body) and _asked(known, view, body):
            known.tables[name] = view
            known.views.append(name)
    return known


def _said(release: str, name: str, body: Body) -> str:
    inner = [thing.said for thing in walk(body) if isinstance(thing, View)]
    return "\n".join([*inner, f"-- view {release}.{name}: {body.text(ADQL)}"])


def _planned(known: Catalog, view: View, body: Body) -> bool:
    """Make the view in each world; tell whether queries can read it."""
    text = body.text(ADQL)
    with_it = {n: _with_view(world, view, text) for n, world in known.worlds.items()}
    try:
        plan(f"SELECT * FROM {view.text(ADQL)}", next(iter(with_it.values())))
    except UserError:
        return False
    except Exception as error:  # noqa: BLE001 - a query that reads it will tell of it
        view.said += f"\n-- which is not planned: {error}"
    for leaves, snapshot in with_it.items():
        known.worlds[leaves].snapshot = snapshot
    return True


def _with_view(world: Chunks, view: View, text: str):
    releases = dict(world.snapshot.releases)
    release = releases[view.release]
    more = {view.name.lower(): views.View(view.name, text)}
    releases[view.release] = replace(release, views={**release.views, **more})
    return replace(world.snapshot, releases=releases)


def _asked(known: Catalog, view: View, body: Body) -> bool:
    """Make the view in the oracle, where it differs with the world."""
    try:
        for leaves in known.worlds:
            sql = f"CREATE VIEW {view.text(DUCK)} AS {body.text(DUCK)}"
            known.oracle.execute(sql.replace(WORLD, str(leaves)))
    except duckdb.Error:
        return False
    return True
