"""Who may call what on the managers' main listener: one line for each RPC."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from manager.control.api import SERVICES
from pyswarm.api.v1 import ca_pb2, dispatcher_pb2, raft_pb2, recovery_pb2
from pyswarm.rpc import Access, Table, methods


def _all(descriptor: object, service: str, access: Access) -> Iterable[tuple[str, Access]]:
    found = descriptor.services_by_name[service]  # type: ignore[attr-defined]
    return ((method, access) for method in methods([found]))


ACCESS: Final[Table] = {
    **dict(_all(raft_pb2.DESCRIPTOR, "RaftTransport", Access.PEER)),
    **dict(_all(recovery_pb2.DESCRIPTOR, "Health", Access.MANAGER)),
    **dict.fromkeys(methods(SERVICES), Access.MANAGER),
    # The cluster's settings without keys and tokens: a joining node needs the port of VXLAN.
    "/pyswarm.api.v1.Control/GetCluster": Access.NODE,
    **dict(_all(dispatcher_pb2.DESCRIPTOR, "Dispatcher", Access.NODE)),
    **dict(_all(ca_pb2.DESCRIPTOR, "NodeCA", Access.NODE)),
    "/pyswarm.api.v1.Membership/JoinRaft": Access.MANAGER,
    "/pyswarm.api.v1.Membership/Leave": Access.NODE,
}
