"""What a load may begin with: its family, its tables, and whether they fit."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from qserv.catalog import system
from qserv.catalog.provenance import Origin
from qserv.catalog.replacing import Replaced, named
from qserv.catalog.snapshot import Family, Release, Snapshot, TableVersion
from qserv.catalog.tables import LOADABLE, Table, TableKind
from qserv.czar.radii import check_fits, radii
from qserv.errors import Conflict, InvalidRequest

OVERLAP: Final = 60 / 3600
"""Degrees, unless a family's first load says otherwise."""
_WIDEST: Final = 90
LEAF_ROWS: Final = 1_000_000
LEAF_BYTES: Final = 2**30

Content = tuple[str, str]
"""(table, sha256)."""

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Source:
    """A file that a loader is about to read.

    Parameters
    ----------
    table
        Where its rows go.
    name
        Path or URI.
    sha256
        Of the whole file, hexadecimal.
    """

    table: str
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a loader asks for.

    Parameters
    ----------
    release
        The release to load into, made when it is new.
    tables
        The tables to load into, made when they are new.
    family
        The release's family; empty: the one it has, or one named like it.
    replicas
        Copies of each chunk; 0: the family's, or the czar's.
    overlap, leaf_rows, leaf_bytes
        Degrees, and limits of a leaf; None: the tables', the family's, the defaults.
    who, pipeline, configuration, input_ids
        Who loads, with what, of which configuration, made of what; for the history.
    inputs
        The files that it will read.
    fingerprint
        Of all that decides what the load makes: a silent load of the same is resumed;
        empty: none is.
    dry_run
        Whether nothing shall begin.
    replaces
        What goes when it commits.
    """

    release: str
    tables: tuple[Table, ...]
    family: str = ""
    replicas: int = 0
    overlap: float | None = None
    leaf_rows: int | None = None
    leaf_bytes: int | None = None
    who: str = ""
    pipeline: str = ""
    configuration: str = ""
    input_ids: tuple[str, ...] = ()
    inputs: tuple[Source, ...] = ()
    fingerprint: str = ""
    dry_run: bool = False
    replaces: tuple[Replaced, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """How a family's tables are cut and copied.

    Parameters
    ----------
    family
        Its name.
    overlap
        Degrees, of new tables that do not say it.
    leaf_rows, leaf_bytes
        Limits of a leaf.
    replicas
        Copies of each chunk.
    existing
        The family as it is; None for a new one.
    cut
        Whether it has tables that its tree cuts into chunks; until then a load makes
        a tree, and may say how.
    """

    family: str
    overlap: float
    leaf_rows: int
    leaf_bytes: int
    replicas: int
    existing: Family | None
    cut: bool


@dataclass(frozen=True, slots=True)
class Target:
    """What a load goes into.

    Parameters
    ----------
    release
        In the catalog's spelling.
    layout
        Of its family.
    tables
        As the catalog knows them, or will.
    existing
        Those of them, and of the directors that they name, that are live already; of
        what is replaced the rest.
    replaces
        What goes.
    radii
        Table -> its overlap radius in degrees, for those that have one.
    """

    release: str
    layout: Layout
    tables: tuple[Table, ...]
    existing: tuple[TableVersion, ...]
    replaces: tuple[Replaced, ...] = ()
    radii: Mapping[str, float] = field(default_factory=dict)

    def needs(self, table: str) -> bool:
        """Whether it makes or fills a table, or its children."""
        names = {known.name.lower() for known in self.tables}
        names |= {name.lower() for known in self.tables for _, name in known.links}
        return table.lower() in names

    def staying(self, live: Mapping[Content, Origin]) -> dict[Content, Origin]:
        """Return those of the contents that are live which the load does not end."""
        going = named(self.replaces)
        return {
            (table, content): origin
            for (table, content), origin in live.items()
            if table.lower() not in going or not going[table.lower()].ends(origin)
        }


def target(asked: Beginning, snapshot: Snapshot, *, replicas: int) -> Target:
    """Check what a loader asks for against what there is.

    Parameters
    ----------
    asked
        What it asks for.
    snapshot
        The newest.
    replicas
        Copies of each chunk of a new family, unless it says otherwise.

    Raises
    ------
    InvalidRequest
        If it does not fit; says what and why.
    Conflict
        If a view has the name of a table.
    """
    _check_names(asked)
    release = snapshot.releases.get(asked.release.lower())
    known = release.tables if release else {}
    tables = tables_of(asked, snapshot)
    layout = _layout(asked, snapshot, replicas)
    return Target(
        release=release.name if release else asked.release,
        layout=layout,
        tables=tables,
        existing=_existing(tables, known, named(asked.replaces)),
        replaces=asked.replaces,
        radii=_radii(asked, tables, known, layout),
    )


def _radii(
    asked: Beginning,
    tables: tuple[Table, ...],
    known: Mapping[str, TableVersion],
    layout: Layout,
) -> dict[str, float]:
    found = radii(
        tables, known, asked.replaces, asked=asked.overlap, new=layout.overlap
    )
    if layout.existing and layout.cut:
        check_fits(found, layout.existing.tree)
    return found


def tables_of(asked: Beginning, snapshot: Snapshot) -> tuple[Table, ...]:
    """Return the tables of a load as the catalog knows them, or will.

    Raises
    ------
    InvalidRequest
        If one does not agree with what is live, or its director is none.
    Conflict
        If a view has the name of a table.
    """
    release = snapshot.releases.get(asked.release.lower())
    known = release.tables if release else {}
    whole = {each.table.lower() for each in asked.replaces if each.whole}
    stay = {name: version for name, version in known.items() if name not in whole}
    tables = tuple(_table(table, stay) for table in asked.tables)
    _check_directors(tables, stay)
    if release:
        _check_views(tables, release)
    return tables


def _existing(
    tables: tuple[Table, ...],
    known: Mapping[str, TableVersion],
    going: Mapping[str, Replaced],
) -> tuple[TableVersion, ...]:
    names = [table.name.lower() for table in tables]
    names += [director.lower() for table in tables for _, director in table.links]
    live = {name: known[name] for name in dict.fromkeys(names) if name in known}
    rest = (
        going[name].rest(version) if name in going else version
        for name, version in live.items()
    )
    return tuple(version for version in rest if version is not None)


def _check_names(asked: Beginning) -> None:
    system.check_release(asked.release)
    _check_overlap(asked)
    names = [
        ("release", asked.release),
        ("family", asked.family or asked.release),
        *(("table", table.name) for table in asked.tables),
    ]
    for kind, name in names:
        if not NAME.fullmatch(name):
            raise InvalidRequest(
                f"{kind} {name!r}: a name is a letter, then letters, digits and _"
            )
    if unlike := [t.name for t in asked.tables if t.kind not in LOADABLE]:
        raise InvalidRequest(
            f"table {unlike[0]}: only qserv fills a system table; "
            f"give it one of the kinds {', '.join(LOADABLE)}"
        )
    folded = [table.name.lower() for table in asked.tables]
    if not folded or len(set(folded)) < len(folded):
        raise InvalidRequest("a load names at least one table, and each table once")


def _check_views(tables: tuple[Table, ...], release: Release) -> None:
    for table in tables:
        if table.name.lower() in release.views:
            raise Conflict(
                f"{release.name}.{table.name} is a view: drop it, or give the table "
                "another name"
            )


def _layout(asked: Beginning, snapshot: Snapshot, replicas: int) -> Layout:
    release = snapshot.releases.get(asked.release.lower())
    if release and asked.family and asked.family.lower() != release.family.lower():
        raise InvalidRequest(
            f"release {release.name} belongs to family {release.family}, "
            f"not {asked.family}"
        )
    name = release.family if release else asked.family or asked.release
    same = (f for f in snapshot.families.values() if f.name.lower() == name.lower())
    if (family := next(same, None)) is None:
        return _new_layout(
            asked, Layout(name, OVERLAP, LEAF_ROWS, LEAF_BYTES, replicas, None, False)
        )
    known = Layout(
        family.name,
        family.overlap,
        family.leaf_rows,
        family.leaf_bytes,
        family.copies,
        family,
        family.cut,
    )
    return _known_layout(asked, known) if family.cut else _new_layout(asked, known)


def _check_overlap(asked: Beginning) -> None:
    if asked.overlap is not None and not 0 <= asked.overlap < _WIDEST:
        raise InvalidRequest(f"overlap must be 0 to {_WIDEST} degrees")


def _new_layout(asked: Beginning, unsaid: Layout) -> Layout:
    overlap = unsaid.overlap if asked.overlap is None else asked.overlap
    leaf_rows = unsaid.leaf_rows if asked.leaf_rows is None else asked.leaf_rows
    leaf_bytes = unsaid.leaf_bytes if asked.leaf_bytes is None else asked.leaf_bytes
    copies = asked.replicas or unsaid.replicas
    if leaf_rows < 1 or leaf_bytes < 1 or copies < 1:
        raise InvalidRequest("leaf limits and replicas must be at least 1")
    return replace(
        unsaid,
        overlap=overlap,
        leaf_rows=leaf_rows,
        leaf_bytes=leaf_bytes,
        replicas=copies,
    )


def _known_layout(asked: Beginning, known: Layout) -> Layout:
    for what, wish, have in (
        ("leaf_rows", asked.leaf_rows, known.leaf_rows),
        ("leaf_bytes", asked.leaf_bytes, known.leaf_bytes),
        ("replicas", asked.replicas or None, known.replicas),
    ):
        if wish is not None and wish != have:
            raise InvalidRequest(
                f"family {known.family} has {what} {have:g} since its first load, "
                f"not {wish:g}; leave it out, or load into another family"
            )
    return known


def _table(table: Table, known: Mapping[str, TableVersion]) -> Table:
    """Return the table as the catalog knows it, if it does and the two agree."""
    if (version := known.get(table.name.lower())) is None:
        return table
    for (what, new), (_, old) in zip(
        _shape(table), _shape(version.table), strict=False
    ):
        if new != old:
            raise InvalidRequest(
                f"table {version.release}.{version.table.name} exists with {what} "
                f"{old}, not {new}"
            )
    if other := _names(table) ^ _names(version.table):
        raise InvalidRequest(
            f"table {version.release}.{version.table.name} exists with "
            f"{len(version.table.columns)} columns, not {len(table.columns)}: "
            f"only one of the two has {', '.join(sorted(other)[:5])}; load without a "
            "schema, which then is that of the live tables"
        )
    return version.table


def _names(table: Table) -> set[str]:
    return {column.name.lower() for column in table.columns}


def _shape(table: Table) -> Iterable[tuple[str, object]]:
    yield "kind", str(table.kind)
    for what in ("key", "director", "second_key", "second_director", "id"):
        said: str | None = getattr(table, what)
        yield what, said.lower() if said else "(none)"
    yield "orphans", "kept" if table.orphans else "refused"
    yield "position", table.position and tuple(c.lower() for c in table.position)
    for number, column in enumerate(table.columns, 1):
        yield f"column {number}", f"{column.name.lower()} {column.datatype}"


def _check_directors(
    tables: tuple[Table, ...], known: Mapping[str, TableVersion]
) -> None:
    kinds = {name: version.table.kind for name, version in known.items()}
    kinds |= {table.name.lower(): table.kind for table in tables}
    for table in tables:
        for _, director in table.links:
            if kinds.get(director.lower()) is not TableKind.DIRECTOR:
                raise InvalidRequest(
                    f"table {table.name}: its director {director} is no director "
                    "table of this load or release; load it before, or in the same "
                    "load"
                )
