"""Calls about networks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import grpc.aio

from manager.control import checks, view_of
from manager.control.calls.server import Calls
from manager.control.filters import filters_of
from manager.state.store import Transaction
from pyswarm.api.v1 import control_pb2, objects_pb2
from pyswarm.model import Meta, Network, NetworkSpec
from pyswarm.wire import from_message, to_message


class NetworkCalls(Calls):
    """Networks: list, create, remove."""

    async def ListNetworks(
        self, request: control_pb2.ListRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.NetworkList:
        """All networks that match."""
        wanted = filters_of(request)
        networks = [to_message(n) for n in self._store.view.list(Network) if wanted.network(n)]
        return control_pb2.NetworkList(networks=networks)

    async def GetNetwork(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Network:
        """One network by id, name or id prefix."""
        return self._get(Network, request.ref)  # type: ignore[no-any-return]

    async def CreateNetwork(
        self, request: control_pb2.CreateNetworkRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Created:
        """A new network; its subnet is chosen by the allocator a moment later."""
        spec = from_message(NetworkSpec, request.spec)
        checks.network(spec)
        network_id = self._context.new_id()

        def change(tx: Transaction) -> None:
            view_of.require_free_name(tx.view, Network, spec.name)
            view_of.require_free_subnet(tx.view, spec)
            now = self._now()
            named = replace(spec, driver="overlay")
            tx.put(Network(id=network_id, meta=Meta(created_at=now, updated_at=now), spec=named))

        await self._store.update(change)
        return control_pb2.Created(id=network_id)

    async def RemoveNetwork(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Empty:
        """Remove a network that nothing uses."""

        def change(tx: Transaction) -> None:
            network = tx.view.resolve(Network, request.ref)
            view_of.require_unused_network(tx.view, network)
            tx.delete(Network, network.id)

        await self._store.update(change)
        return control_pb2.Empty()
