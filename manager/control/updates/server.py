"""The calls of `updates.proto`: steer an update, list a history."""

from __future__ import annotations

from typing import Any

import grpc.aio

from manager.control.calls.server import Calls
from manager.control.updates.edits import steered
from manager.planning import revisions
from manager.state.store import Transaction
from pyswarm.api.v1 import control_pb2, objects_pb2, updates_pb2, updates_pb2_grpc
from pyswarm.errors import NotFound
from pyswarm.model import Service
from pyswarm.wire import to_message


class UpdateServer(Calls, updates_pb2_grpc.UpdatesServicer):
    """Answers on the leader, as the control API does."""

    async def SteerUpdate(
        self, request: updates_pb2.SteerUpdateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Service:
        """Pause, continue or abort the update of a service."""

        def change(tx: Transaction) -> Service:
            service = tx.view.resolve(Service, request.service)
            if service.pending_delete:
                raise NotFound(f"service {service.spec.name} not found: it is being removed")
            changed = steered(service, request.action, tx.now)
            return revisions.put_service(tx, changed, changed.update_status.message)

        service = await self._store.update(change)
        stored = self._store.view.get(Service, service.id)
        return to_message(stored or service)  # type: ignore[no-any-return]

    async def ListRevisions(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> updates_pb2.RevisionList:
        """The kept revisions of a service, oldest first."""
        view = self._store.view
        service = view.resolve(Service, request.ref)
        kept = [to_message(revision) for revision in revisions.history(view, service)]
        return updates_pb2.RevisionList(revisions=kept, current=service.revision)
