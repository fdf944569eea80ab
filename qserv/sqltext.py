"""The one door to ``sql/``: all SQL that the planner does not build."""

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable


def _root() -> Traversable:
    packaged = files("qserv") / "sql"
    # In a checkout sql/ stands beside the package, in a wheel inside it.
    return packaged if packaged.is_dir() else files("qserv") / ".." / "sql"


@cache
def read(path: str) -> str:
    """Return the text of one SQL file.

    Parameters
    ----------
    path
        Path below ``sql/``, such as ``"worker/macros.sql"``.
    """
    return _root().joinpath(*path.split("/")).read_text(encoding="utf-8")


def migrations() -> list[tuple[int, str]]:
    """Return the metadata migrations in order, as ``(number, SQL script)``."""
    names = sorted(f.name for f in _root().joinpath("metadata").iterdir())
    return [(int(name.split("_")[0]), read(f"metadata/{name}")) for name in names]
