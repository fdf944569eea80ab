"""Geometry made canonical: every phrasing of a cone or a polygon becomes one node.

``1 = CONTAINS(POINT(a), CIRCLE(c, r))``, its mirror images, with or without coordinate
system, ``DISTANCE`` in both forms: after `canonical` the tree holds only

- `Separation`: the angle in degrees between two positions,
- `InCircle`: a position lies in a closed circle,
- `InPolygon`: a position lies in a polygon (a BOX is one),
- `InMoc`: a position lies in a MOC,
- `HealpixIndex`: the HEALPix pixel of a position,

what begins with In as predicates (ADQL 2.1 section 4.2).
"""

from typing import Any, ClassVar, Final

from sqlglot import exp

from qserv.errors import ParseError, TypeMismatch, UnsupportedQuery


class Separation(exp.Expression):
    """Angle in degrees between the positions (lon1, lat1) and (lon2, lat2)."""

    arg_types: ClassVar[dict[str, bool]] = {"expressions": True}


class InCircle(exp.Expression):
    """Whether (lon, lat) is in the closed circle (lon, lat, radius in degrees)."""

    arg_types: ClassVar[dict[str, bool]] = {"expressions": True}


class InPolygon(exp.Expression):
    """Whether (lon, lat) is in the polygon of the vertices that follow.

    ``box`` tells that center, width and height follow instead.
    """

    arg_types: ClassVar[dict[str, bool]] = {"expressions": True, "box": False}


class InMoc(exp.Expression):
    """Whether (lon, lat) is in the MOC of a text: the third expression."""

    arg_types: ClassVar[dict[str, bool]] = {"expressions": True}


class HealpixIndex(exp.Expression):
    """The NESTED pixel of an order that holds a position: (order, lon, lat)."""

    arg_types: ClassVar[dict[str, bool]] = {"expressions": True}


HEALPIX_INDEX: Final = "IVO_HEALPIX_INDEX"
_REGIONS: Final = {"CIRCLE", "POLYGON", "BOX", "MOC"}
NOT_YET: Final = {
    "AREA",
    "CENTROID",
    "COORD1",
    "COORD2",
    "COORDSYS",
    "INTERSECTS",
    "REGION",
}


def name_of(node: Any) -> str:
    """Return a call's name in upper case; empty for anything else."""
    return node.name.upper() if isinstance(node, exp.Anonymous) else ""


def canonical(tree: exp.Expression) -> exp.Expression:
    """Turn all geometry of a tree, in place, into canonical nodes.

    Raises
    ------
    TypeMismatch
        If a geometry function is given what it cannot take.
    UnsupportedQuery
        If a geometry function is not answered yet.
    """
    return tree.transform(_rewrite, copy=False)


def _rewrite(node: exp.Expression) -> exp.Expression:
    name = name_of(node)
    if name in NOT_YET:
        raise UnsupportedQuery(f"{name} is not answered yet")
    if name == "DISTANCE":
        return Separation(expressions=_distance(node.expressions))
    if name == HEALPIX_INDEX:
        return HealpixIndex(expressions=_index(node.expressions))
    if name == "CONTAINS":
        inside = _contains(node.expressions)
        # As a number: 1 inside, 0 outside, NULL where the position is NULL.
        return exp.Case(
            ifs=[
                exp.If(this=inside, true=exp.Literal.number(1)),
                exp.If(this=exp.Not(this=inside.copy()), true=exp.Literal.number(0)),
            ]
        )
    if isinstance(node, (exp.EQ, exp.NEQ)):
        return _predicate(node)
    return node


def _predicate(node: exp.Expression) -> exp.Expression:
    """Turn ``1 = CONTAINS(…)`` and its mirror images into the bare predicate."""
    sides = (node.this.unnest(), node.expression.unnest())
    for number, call in (sides, sides[::-1]):
        if name_of(call) == "CONTAINS" and number in _TRUTH:
            wanted = _TRUTH[number] == isinstance(node, exp.EQ)
            inside = _contains(call.expressions)
            return inside if wanted else exp.Not(this=inside)
    return node


_TRUTH: Final = {exp.Literal.number(1): True, exp.Literal.number(0): False}


def _distance(args: list[exp.Expression]) -> list[exp.Expression]:
    if len(args) == 4:
        return args
    if len(args) == 2 and all(name_of(a) == "POINT" for a in args):
        return [*_point(args[0]), *_point(args[1])]
    raise TypeMismatch("DISTANCE takes two points, or four coordinates in degrees")


def _index(args: list[exp.Expression]) -> list[exp.Expression]:
    """Return order, longitude and latitude."""
    if len(args) == 2 and name_of(args[1]) == "POINT":
        args = [args[0], *_point(args[1])]
    if len(args) != 3:
        raise TypeMismatch(
            f"{HEALPIX_INDEX} takes an order and a POINT, or an order and two "
            "coordinates in degrees"
        )
    return args


def _contains(args: list[exp.Expression]) -> exp.Expression:
    if len(args) != 2 or name_of(args[0]) != "POINT":
        raise TypeMismatch("CONTAINS takes a POINT and a CIRCLE, POLYGON, BOX or MOC")
    point, region = args
    match name_of(region):
        case "CIRCLE":
            circle = _numbers(region, "CIRCLE", 3)
            return InCircle(expressions=[*_point(point), *circle])
        case "POLYGON":
            vertices = _vertices(region)
            return InPolygon(expressions=[*_point(point), *vertices])
        case "BOX":
            box = _numbers(region, "BOX", 4)
            return InPolygon(expressions=[*_point(point), *box], box=True)
        case "MOC":
            return InMoc(expressions=[*_point(point), _moc(region.expressions)])
        case _:
            known = ", ".join(sorted(_REGIONS))
            raise TypeMismatch(f"CONTAINS needs one of {known} second")


def _point(node: exp.Expression) -> list[exp.Expression]:
    return _numbers(node, "POINT", 2)


def _numbers(node: exp.Expression, what: str, count: int) -> list[exp.Expression]:
    """Return a region's numbers, a leading POINT taken apart."""
    args = _without_system(node.expressions)
    if what != "POINT" and args and name_of(args[0]) == "POINT":
        args = [*_point(args[0]), *args[1:]]
    if len(args) != count:
        raise TypeMismatch(f"{what} takes {count} numbers in degrees, not {len(args)}")
    return args


def _vertices(node: exp.Expression) -> list[exp.Expression]:
    args = _without_system(node.expressions)
    if args and all(name_of(a) == "POINT" for a in args):
        args = [number for a in args for number in _point(a)]
    if len(args) < 6 or len(args) % 2:
        raise TypeMismatch("POLYGON takes three or more vertices as pairs of degrees")
    return args


def _moc(args: list[exp.Expression]) -> exp.Expression:
    if len(args) == 1 and isinstance(args[0], exp.Literal) and args[0].is_string:
        return args[0]
    if args and (shape := name_of(args[-1])) in _REGIONS:
        raise UnsupportedQuery(
            f"MOC of a {shape} is not answered yet: put the {shape} into CONTAINS"
        )
    raise TypeMismatch("MOC takes one text, such as MOC('4/30-33 7/324')")


def _without_system(args: list[exp.Expression]) -> list[exp.Expression]:
    """Drop the deprecated first argument that names a coordinate system."""
    if not (args and isinstance(args[0], exp.Literal) and args[0].is_string):
        return args
    words = args[0].name.upper().split()
    if words and words[0] != "ICRS":
        raise UnsupportedQuery(
            f"coordinate system '{args[0].name}' is not answered yet: use ICRS degrees"
        )
    return args[1:]


def refuse_bare(node: exp.Expression) -> None:
    """Raise if a region or point stands where a value is expected."""
    name = name_of(node)
    if name in _REGIONS | {"POINT"}:
        raise ParseError(
            f"{name} can only stand inside CONTAINS or DISTANCE; "
            f"select its coordinates instead"
        )
