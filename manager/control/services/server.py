"""Calls about services and their tasks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import grpc.aio

from manager.control import checks, edits, view_of
from manager.control.calls.server import Calls
from manager.control.filters import filters_of
from manager.control.services.logins import forget_login, keep_login
from manager.control.updates.edits import rolled_back, target_of
from manager.planning import revisions
from manager.state.store import Transaction
from pyswarm.api.v1 import control_pb2, objects_pb2
from pyswarm.model import Config, Network, Secret, Service, ServiceSpec, Task
from pyswarm.model.advice import warnings
from pyswarm.wire import from_message, to_message


class ServiceCalls(Calls):
    """Services and tasks: list, create, change, remove."""

    async def ListServices(
        self, request: control_pb2.ListRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.ServiceList:
        """All services that match, with how many tasks run and should run."""
        wanted, view = filters_of(request), self._store.view
        found = [s for s in view.list(Service) if wanted.service(s) and not s.pending_delete]
        return control_pb2.ServiceList(services=[view_of.counted(view, s) for s in found])

    async def GetService(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Service:
        """One service by id, name or id prefix."""
        return self._get(Service, request.ref)  # type: ignore[no-any-return]

    async def CreateService(
        self, request: control_pb2.CreateServiceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Created:
        """A new service; it is stored when this returns, and its tasks follow."""
        spec = from_message(ServiceSpec, request.spec)
        checks.service(spec)
        service_id, fresh = self._context.new_id(), self._context.new_id()

        def change(tx: Transaction) -> None:
            view_of.require_free_name(tx.view, Service, spec.name)
            resolved = self._resolved(tx, spec)
            view_of.require_free_ports(tx.view, resolved, service_id)
            now = self._now()
            service = edits.new_service(service_id, resolved, now)
            revisions.put_service(tx, service, "created")
            keep_login(tx, service_id, fresh, request.registry_login, now)

        await self._store.update(change)
        return control_pb2.Created(id=service_id, warnings=warnings(spec))

    async def UpdateService(
        self, request: control_pb2.UpdateServiceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Service:
        """A new spec, or with `rollback` the one before, or one of the history."""
        spec = from_message(ServiceSpec, request.spec)
        if not request.rollback:
            checks.service(spec)
        fresh = self._context.new_id()

        def change(tx: Transaction) -> Service:
            service = self._current(tx, Service, request.id, request.version)
            keep_login(tx, service.id, fresh, request.registry_login, self._now())
            target, cause = spec, ""
            if request.rollback:
                target, cause = self._target(tx, service, request.to_revision)
            # Also in an earlier spec: what it names may be gone, or taken, by now.
            resolved = self._resolved(tx, target)
            view_of.require_free_ports(tx.view, resolved, service.id)
            changed = edits.update_service(service, resolved, self._now())
            if request.rollback:
                changed = rolled_back(service, changed, self._now())
            return revisions.put_service(tx, changed, cause)

        service = await self._store.update(change)
        return to_message(self._store.view.get(Service, service.id) or service)  # type: ignore[no-any-return]

    def _target(self, tx: Transaction, service: Service, number: int) -> tuple[ServiceSpec, str]:
        """The spec that a rollback goes to, and the words for the history."""
        if not number:
            return target_of(service, None), "rollback"
        revision = revisions.require(tx.view, service, number)
        return target_of(service, revision.spec), f"rollback to {number}"

    async def RemoveService(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Empty:
        """Stop the service's tasks; the record and its addresses go when they have ended."""

        def change(tx: Transaction) -> None:
            service = tx.view.resolve(Service, request.ref)
            tx.put(replace(service, pending_delete=True))
            forget_login(tx, service.id)

        await self._store.update(change)
        return control_pb2.Empty()

    async def ListTasks(
        self, request: control_pb2.ListRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.TaskList:
        """All tasks that match, ended ones included."""
        wanted = filters_of(request)
        tasks = [to_message(t) for t in self._store.view.list(Task) if wanted.task(t)]
        return control_pb2.TaskList(tasks=tasks)

    async def GetTask(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Task:
        """One task by id, name or id prefix."""
        return self._get(Task, request.ref)  # type: ignore[no-any-return]

    def _resolved(self, tx: Transaction, spec: ServiceSpec) -> ServiceSpec:
        return edits.resolve_references(
            spec,
            lambda ref: tx.view.resolve(Network, ref).id,
            lambda ref: tx.view.resolve(Secret, ref).id,
            lambda ref: tx.view.resolve(Config, ref).id,
        )
