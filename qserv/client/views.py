"""Views as a client sees them."""

from dataclasses import dataclass, field

from qserv.catalog.tables import Column
from qserv.errors import InvalidRequest
from qserv.wire.messages import columns_from_proto
from qserv.wire.v1 import czar_pb2 as pb


@dataclass(frozen=True, slots=True)
class ViewStatus:
    """A view of a release.

    Parameters
    ----------
    release, name
        What a query calls it: ``release.name``.
    text
        The query that it stands for.
    description
        What its rows are.
    since
        The first snapshot that shows it.
    columns
        Of its rows; none where it cannot be read.
    trouble
        Why it cannot be read by this version of qserv; else empty.
    """

    release: str
    name: str
    text: str = field(repr=False)
    description: str
    since: int
    columns: tuple[Column, ...] = field(repr=False)
    trouble: str = ""


def view_of(message: pb.ViewDescription) -> ViewStatus:
    """Turn the czar's message into a value."""
    return ViewStatus(
        release=message.release,
        name=message.name,
        text=message.text,
        description=message.description,
        since=message.since,
        columns=columns_from_proto(message.columns),
        trouble=message.trouble,
    )


def parted(name: str, form: str = "RELEASE.VIEW, as in dr1.Bright") -> tuple[str, str]:
    """Take ``release.name`` apart; `form` says in a message what it is to be.

    Raises
    ------
    InvalidRequest
        If it is not of this form.
    """
    release, dot, view = name.partition(".")
    if not (release and dot and view) or "." in view:
        raise InvalidRequest(f"{name!r} is not {form}")
    return release, view
