"""A whole cluster on this machine: start, watch, restart, stop.

Each part is a process of its own (``qserv czar``, ``qserv worker``) with its own
directory and nothing but gRPC between them. A part stops when its standard input ends,
so that none outlives the process that started it, however that one dies; and every part
holds the lock on the cluster's directory, so that a new cluster starts there only when
the last part of the old one is gone.
"""

from qserv.local.cluster import LocalCluster, LocalConnection, read_endpoint

__all__ = ["LocalCluster", "LocalConnection", "read_endpoint"]
