"""Where a czar is, as people write it."""

from typing import Final

from qserv.errors import InvalidRequest

DEFAULT_PORT: Final = 7480


def endpoint_of(address: str) -> str:
    """Turn ``"qserv://host:port"``, ``"host:port"`` or ``"host"`` into host:port."""
    bare = address.removeprefix("qserv://").removesuffix("/")
    host, colon, port = bare.rpartition(":")
    if not colon or host.endswith(":"):
        host, port = bare, str(DEFAULT_PORT)
    if not host or "/" in host or not port.isdecimal() or int(port) > 65535:
        raise InvalidRequest(
            f"{address!r} is no address of a czar; write host:port or qserv://host:port"
        )
    return f"{host}:{port}"
