"""Calls about nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import grpc.aio

from certs.authority import remembered_until
from manager.control import checks, edits
from manager.control.calls.server import Calls
from manager.control.filters import filters_of
from manager.state.store import Transaction
from pyswarm.api.v1 import control_pb2, objects_pb2
from pyswarm.errors import FailedPrecondition
from pyswarm.model import Cluster, Node, NodeSpec, NodeState
from pyswarm.wire import from_message, to_message


class NodeCalls(Calls):
    """Nodes: list, change, remove."""

    async def ListNodes(
        self, request: control_pb2.ListRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.NodeList:
        """All nodes that match, managers with their state as raft sees it now."""
        wanted = filters_of(request)
        nodes = [self._context.with_raft_status(n) for n in self._store.view.list(Node)]
        return control_pb2.NodeList(nodes=[to_message(n) for n in nodes if wanted.node(n)])

    async def GetNode(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Node:
        """One node by id, hostname or id prefix."""
        node = self._store.view.resolve(Node, request.ref)
        return to_message(self._context.with_raft_status(node))  # type: ignore[no-any-return]

    async def UpdateNode(
        self, request: control_pb2.UpdateNodeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Node:
        """Labels, availability and role; the role follows a moment later."""
        spec = from_message(NodeSpec, request.spec)
        checks.node(spec)

        def change(tx: Transaction) -> Node:
            node = self._current(tx, Node, request.id, request.version)
            self._context.check_role(tx.view, node, spec.role)
            return edits.update_node(node, spec, self._now())

        return await self._changed(change)  # type: ignore[no-any-return]

    async def RemoveNode(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Empty:
        """Take a node out for good: its certificate is refused from now on."""

        def change(tx: Transaction) -> None:
            node = tx.view.resolve(Node, request.ref)
            self._context.check_unused(node)
            if node.status.state == NodeState.READY and not request.force:
                raise FailedPrecondition(
                    f"node {node.id} is not down and can't be removed: "
                    "let it leave the swarm first, or use --force"
                )
            [cluster] = tx.view.list(Cluster)
            until = remembered_until(node, cluster.spec, self._now())
            removed = {k: v for k, v in cluster.removed_nodes.items() if v > self._now()}
            tx.put(replace(cluster, removed_nodes={**removed, node.id: until}))
            tx.delete(Node, node.id)

        await self._store.update(change)
        return control_pb2.Empty()
