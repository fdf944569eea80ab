"""A shared-nothing distributed catalog database for sky surveys.

Two straight lines run through the house.

The line of a query: a text becomes one tree (`qserv.dialects`), the tree becomes an
immutable `Plan` (`qserv.plan.planner.plan`), the plan's restrictors become chunks
(`qserv.plan.route`), the chunks become one task a worker (`qserv.czar.dispatch`), the
executive streams each task over gRPC (`qserv.czar.executive`), a worker forms batches
(`qserv.worker.scheduler`) and runs each as one DuckDB query (`qserv.worker.engine`),
digested Arrow frames come back (`qserv.wire.codec`), the czar merges them
(`qserv.czar.merge`) and streams rows to whoever asked (`qserv.faces`).

The line of a file: readers turn it into Arrow in the table's types
(`qserv.ingest.formats`), each row gets a home and its overlap hosts
(`qserv.ingest.partition`), the loader streams chunk files to the workers that the
czar's placement names (`qserv.ingest.loader`), a worker stages, syncs and checks them
(`qserv.ingest.receiver`), one transaction makes them visible, whole or not at all
(`qserv.ingest.transaction`, `qserv.catalog.store`).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qserv.client.connection import Connection, connect
    from qserv.local import LocalCluster

__all__ = ["Connection", "LocalCluster", "connect"]

_HOMES = {
    "Connection": "qserv.client.connection",
    "LocalCluster": "qserv.local",
    "connect": "qserv.client.connection",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
