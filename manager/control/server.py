"""The control API: read the store, check, edit, commit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc.aio

from manager.control import view_of
from manager.control.calls.server import ControlContext
from manager.control.clusters.server import ClusterCalls
from manager.control.filters import Filters
from manager.control.networks.server import NetworkCalls
from manager.control.nodes.server import NodeCalls
from manager.control.payloads.server import PayloadCalls
from manager.control.services.server import ServiceCalls
from manager.control.watch.driver import watch
from pyswarm.api.v1 import control_pb2, control_pb2_grpc
from pyswarm.model import Node, Service, Task

__all__ = ["ControlContext", "ControlServer"]


class ControlServer(
    NodeCalls,
    ServiceCalls,
    NetworkCalls,
    PayloadCalls,
    ClusterCalls,
    control_pb2_grpc.ControlServicer,
):
    """Answers on the leader; a follower passes calls on before they come here."""

    async def Watch(
        self, request: control_pb2.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[control_pb2.WatchEvent]:
        """What matches now, then SYNCED, then each change; after a lag it begins again."""
        kinds = view_of.watched_kinds(request.kinds)
        async for event in watch(
            self._store, kinds, frozenset(request.services), follow=request.follow
        ):
            yield event

    async def Logs(
        self, request: control_pb2.LogsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[control_pb2.LogChunk]:
        """Logs of services and tasks from every node that has them."""
        services, tasks = frozenset(request.services), frozenset(request.tasks)
        nodes, labelled = frozenset(request.nodes), Filters(labels=request.labels)

        def wanted() -> list[Task]:
            view = self._store.view
            chosen = set(services)
            if request.labels:
                chosen |= {s.id for s in view.list(Service) if labelled.service(s)}
            found = [t for s in sorted(chosen) for t in view.tasks_of_service(s)]
            found += [t for t in map(partial(view.get, Task), sorted(tasks)) if t is not None]
            return [t for t in found if not nodes or t.node_id in nodes]

        def hostname(node_id: str) -> str:
            node = self._store.view.get(Node, node_id)
            return node.hostname if node else node_id

        async for chunk in self._context.logs().read(wanted, hostname, request):
            yield chunk
