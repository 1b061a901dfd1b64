"""A manager's two CA listeners on loopback, over a state in memory."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from manager.ca.client import ExternalSigner
from manager.ca.policy import Grant
from manager.ca.server import (
    NODE_CA_ACCESS,
    Authority,
    BootstrapServer,
    CAState,
    Issued,
    NodeCAServer,
)
from pyswarm.api.v1 import ca_pb2_grpc
from pyswarm.errors import NotFound
from pyswarm.model.cluster import ExternalCA, RootCA
from pyswarm.model.node import Node, NodeDescription
from pyswarm.model.states import NodeRole
from pyswarm.rpc import Authorizer, Credentials, bootstrap_server, mutual_server
from pyswarm.testing.trust import Trust


@dataclass
class MemoryCAState:
    """A `CAState` that a test may turn the knobs of."""

    trust: Trust
    is_leader: bool = True
    leader_address: str = ""
    certificate_life_seconds: float = 3600.0
    nodes: dict[str, Node] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    external_cas: tuple[ExternalCA, ...] = ()

    @property
    def cluster_id(self) -> str:
        """The swarm's id."""
        return self.trust.cluster_id

    def root(self) -> RootCA:
        """Root and tokens."""
        return self.trust.root

    def node(self, node_id: str) -> Node | None:
        """The record."""
        return self.nodes.get(node_id)

    def is_removed(self, node_id: str) -> bool:
        """Whether the test has removed the node."""
        return node_id in self.removed

    async def register(self, grant: Grant, issued: Issued) -> None:
        """See `CAState.register`."""
        known = self.nodes.get(grant.node_id)
        if known is None:
            if not grant.hostname:
                raise NotFound(f"node {grant.node_id} is gone")
            description = NodeDescription(hostname=grant.hostname)
            known = Node(id=grant.node_id, role=grant.role, description=description)
        self.nodes[grant.node_id] = replace(known, certificate_serial=issued.serial)


@dataclass
class AuthorityOnLoopback:
    """`address` is the main one; the bootstrap listener is one port further."""

    state: Any
    authorizer: Authorizer
    credentials: Credentials
    address: str


def free_port_pair() -> int:
    """A port of loopback that is free now, and so is the next one."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except (OSError, OverflowError):
                continue
            return port


@asynccontextmanager
async def authority_on_loopback(
    state: CAState,
    node_id: str = "m1",
    credentials: Credentials | None = None,
    **bootstrap_options: Any,
) -> AsyncIterator[AuthorityOnLoopback]:
    """Serve both listeners until the block ends; a state in memory makes the credentials too."""
    port = free_port_pair()
    if credentials is None:
        assert isinstance(state, MemoryCAState), "who serves another state brings credentials"
        credentials = state.trust.node(node_id, NodeRole.MANAGER)
    authorizer = Authorizer(NODE_CA_ACCESS, state.cluster_id, state.is_removed)
    serving = AuthorityOnLoopback(state, authorizer, credentials, f"127.0.0.1:{port}")

    def provider() -> Credentials:
        return serving.credentials

    authority = Authority(state, ExternalSigner(provider))
    main = mutual_server(serving.address, provider, authorizer).server
    boot = bootstrap_server(f"127.0.0.1:{port + 1}", provider, **bootstrap_options).server
    ca_pb2_grpc.add_NodeCAServicer_to_server(NodeCAServer(authority), main)
    ca_pb2_grpc.add_BootstrapServicer_to_server(BootstrapServer(authority), boot)
    await main.start()
    await boot.start()
    try:
        yield serving
    finally:
        await main.stop(0)
        await boot.stop(0)
