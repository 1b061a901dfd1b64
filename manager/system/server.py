"""`system df` and `system prune`: every node is asked at once, and answers for itself.

A node that is away is named by the moment at which that is known, and holds nobody up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc.aio

from manager.control import view_of
from manager.nodecalls.driver import NodeCalls
from manager.state.driver import Store
from manager.state.store import Transaction
from pyswarm.api.v1 import dispatcher_pb2, system_pb2, system_pb2_grpc
from pyswarm.errors import FailedPrecondition, SwarmError
from pyswarm.model import Network, Node

USAGE_SECONDS: Final = 30.0
"""A node with many files in its volumes needs a while to count them."""
PRUNE_SECONDS: Final = 120.0

Context = grpc.aio.ServicerContext[Any, Any]


class SystemServer(system_pb2_grpc.SystemServicer):
    """Answers on the leader, which has the sessions of all nodes."""

    def __init__(self, store: Store, calls: Callable[[], NodeCalls]) -> None:
        self._store = store
        self._calls = calls

    async def DiskUsage(
        self, request: system_pb2.DiskUsageRequest, context: Context
    ) -> AsyncIterator[system_pb2.NodeUsage]:
        """One message for each node, as the answers come."""
        question = dispatcher_pb2.NodeAsk(disk_usage=request)
        async for node, answer in self._ask_all(question, USAGE_SECONDS):
            usage = system_pb2.NodeUsage()
            if isinstance(answer, SwarmError):
                usage.problem = answer.message
            else:
                usage.CopyFrom(answer.disk_usage)
            usage.node_id, usage.hostname = node.id, node.hostname
            yield usage

    async def Prune(
        self, request: system_pb2.PruneRequest, context: Context
    ) -> AsyncIterator[system_pb2.Pruned]:
        """First what belongs to no node, then one message for each node."""
        yield system_pb2.Pruned(networks=await self._prune_networks(request.until))
        question = dispatcher_pb2.NodeAsk(prune=request)
        async for node, answer in self._ask_all(question, PRUNE_SECONDS):
            pruned = system_pb2.Pruned()
            if isinstance(answer, SwarmError):
                pruned.problem = answer.message
            else:
                pruned.CopyFrom(answer.prune)
            pruned.node_id, pruned.hostname = node.id, node.hostname
            yield pruned

    async def _ask_all(
        self, question: dispatcher_pb2.NodeAsk, timeout_seconds: float
    ) -> AsyncIterator[tuple[Node, dispatcher_pb2.NodeAnswer | SwarmError]]:
        nodes = {node.id: node for node in self._store.view.list(Node)}
        async for node_id, answer in self._calls().ask_all(nodes, question, timeout_seconds):
            yield nodes[node_id], answer

    async def _prune_networks(self, until: float) -> list[str]:
        """The names of the networks that nothing used; they are gone."""

        def change(tx: Transaction) -> list[str]:
            removed = []
            for network in tx.view.list(Network):
                if until and network.meta.created_at >= until:
                    continue
                try:
                    view_of.require_unused_network(tx.view, network)
                except FailedPrecondition:
                    continue
                tx.delete(Network, network.id)
                removed.append(network.spec.name)
            return sorted(removed)

        return await self._store.update(change)
