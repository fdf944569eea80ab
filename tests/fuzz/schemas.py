"""The tables of the random catalogs, and what data conditions their rows have."""

from fuzz.nodes import WORLD
from fuzz.nodes import Column as Offered
from fuzz.nodes import Table as Stored

from qserv.catalog.tables import Column, DataType, Table, TableKind

_KINDS = {
    DataType.BOOLEAN: "flag",
    DataType.REAL: "float",
    DataType.DOUBLE: "float",
    DataType.VARCHAR: "text",
}


def _columns(text: str) -> tuple[Column, ...]:
    """Read ``name:TYPE``; a ``!`` says that there is no NULL."""
    columns = []
    for word in text.split():
        name, _, datatype = word.partition(":")
        columns.append(
            Column(name, DataType(datatype.rstrip("!")), nullable="!" not in datatype)
        )
    return tuple(columns)


_POSITION = "ra:DOUBLE! dec:DOUBLE!"
TABLES = {
    "t": (
        Table(
            "Object",
            TableKind.DIRECTOR,
            _columns(
                f"objectId:BIGINT! {_POSITION} mag:REAL flux:DOUBLE class:SMALLINT "
                "extended:BOOLEAN name:VARCHAR parent:BIGINT"
            ),
            key="objectId",
            position=("ra", "dec"),
        ),
        Table(
            "Source",
            TableKind.CHILD,
            _columns(
                f"sourceId:BIGINT! objectId:BIGINT! visit:INTEGER {_POSITION} "
                "flux:DOUBLE jd:DOUBLE"
            ),
            key="objectId",
            director="Object",
            position=("ra", "dec"),
            id="sourceId",
        ),
        Table(
            "Forced",
            TableKind.CHILD,
            _columns("objectId:BIGINT visit:INTEGER psf:REAL"),
            key="objectId",
            director="Object",
        ),
        Table(
            "Ref",
            TableKind.DIRECTOR,
            _columns(f"refId:BIGINT! {_POSITION} mag:REAL class:SMALLINT"),
            key="refId",
            position=("ra", "dec"),
        ),
        Table(
            "Match",
            TableKind.REF_MATCH,
            _columns("objectId:BIGINT refId:BIGINT apart:REAL class:SMALLINT"),
            key="objectId",
            director="Object",
            second_key="refId",
            second_director="Ref",
        ),
        Table(
            "Twin",
            TableKind.REF_MATCH,
            _columns("objectId:BIGINT twinId:BIGINT apart:REAL"),
            key="objectId",
            director="Object",
            second_key="twinId",
            second_director="Object",
        ),
        Table(
            "Visit",
            TableKind.REPLICATED,
            _columns("visit:INTEGER filterId:SMALLINT night:DOUBLE"),
        ),
        Table(
            "Filter",
            TableKind.REPLICATED,
            _columns("filterId:SMALLINT! band:VARCHAR"),
        ),
    ),
    "v": (
        Table(
            "Galaxy",
            TableKind.DIRECTOR,
            _columns(f"galId:BIGINT! {_POSITION} mag:REAL z:DOUBLE class:SMALLINT"),
            key="galId",
            position=("ra", "dec"),
        ),
        Table(
            "Shape",
            TableKind.CHILD,
            _columns("galId:BIGINT! visit:INTEGER size:REAL"),
            key="galId",
            director="Galaxy",
        ),
    ),
    "u": (
        Table(
            "Star",
            TableKind.DIRECTOR,
            _columns(
                f"starId:BIGINT! {_POSITION} mag:REAL class:SMALLINT name:VARCHAR"
            ),
            key="starId",
            position=("ra", "dec"),
        ),
        Table(
            "Epoch",
            TableKind.CHILD,
            _columns("starId:BIGINT! visit:INTEGER pm:DOUBLE"),
            key="starId",
            director="Star",
        ),
    ),
}
_DOMAINS = {
    "parent": "objectId",
    "twinId": "objectId",
    "apart": "mag",
    "psf": "flux",
    "pm": "flux",
    "z": "flux",
}
_CONDITIONS = {
    "Object": (
        *("duplicate positions", "chunk borders", "poles", "RA wrap", "NaN"),
        *("NULL", "duplicate values", "no children"),
    ),
    "Source": ("δ > 0 child", "NaN", "NULL"),
    "Forced": ("NULL keys", "orphans"),
    "Ref": ("δ > 0 director", "chunk borders"),
    "Match": ("pairs across chunks", "NULL first keys", "NULL second keys"),
    "Twin": ("pairs of one table", "NULL first keys"),
    "Visit": ("replicated NULL", "replicated duplicates", "dangling"),
    "Filter": ("replicated NULL",),
    "Galaxy": ("δ > 0 director", "chunk borders", "NULL"),
    "Shape": ("empty chunks",),
    "Star": ("second family", "poles", "RA wrap"),
    "Epoch": ("second family", "empty chunks"),
}


def domain_of(column: Column) -> str:
    """Return what a column's values are: like ones can be compared."""
    return _DOMAINS.get(column.name, column.name)


def offered() -> dict[str, Stored]:
    return {
        table.name: Stored(release, table.name, _columns_of(table), _tags(table))
        for release, tables in TABLES.items()
        for table in tables
    }


def _columns_of(table: Table) -> list[Offered]:
    columns = [_column(c) for c in table.columns]
    if table.partitioned:
        # The tree, and so the chunk, is another in each world.
        columns.append(Offered("chunkId", "int", "chunkId", stored=f"_chunk{WORLD}"))
        # Its sum would be too large for its type, and its products.
        home = "_healpix_29"
        columns.append(Offered(home, "home", home, stored="_home"))
        columns.append(Offered("subChunkId", "int", "subChunkId", stored="_cell"))
    return columns


def _tags(table: Table) -> tuple[str, ...]:
    conditions = (f"data {each}" for each in _CONDITIONS[table.name])
    return (f"table {table.kind}", *conditions)


def _column(column: Column) -> Offered:
    kind = "int" if column.datatype.is_integer else _KINDS[column.datatype]
    domain = domain_of(column)
    # Sums of what is no multiple of 1/8 depend on their order.
    rough = column.name in {"ra", "dec", "jd"}
    return Offered(column.name, kind, domain, column.nullable, rough=rough)
