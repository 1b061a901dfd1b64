"""The rotation of secrets and configs: a new version, and the services that follow to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import grpc.aio

from manager.control import attached, checks, rotation, view_of
from manager.control.calls.server import Calls
from manager.placement.versions import references
from manager.planning import revisions
from manager.state.store import Transaction
from pyswarm.api.v1 import control_pb2, volumes_pb2, volumes_pb2_grpc
from pyswarm.model import Config, Secret, Service
from pyswarm.model.payload import CONFIG_BYTES_MAX, SECRET_BYTES_MAX

Payload = TypeVar("Payload", Secret, Config)


class RotationCalls(Calls, volumes_pb2_grpc.RotationServicer):
    """Rotate, and list the versions that are left."""

    async def RotateSecret(
        self, request: volumes_pb2.RotateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> volumes_pb2.RotateResponse:
        """New content for a secret."""
        return await self._rotate(Secret, request, SECRET_BYTES_MAX)

    async def RotateConfig(
        self, request: volumes_pb2.RotateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> volumes_pb2.RotateResponse:
        """New content for a config."""
        return await self._rotate(Config, request, CONFIG_BYTES_MAX)

    async def ListSecretVersions(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> volumes_pb2.VersionList:
        """The versions of a secret, without their content."""
        return self._versions(Secret, request.ref)

    async def ListConfigVersions(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> volumes_pb2.VersionList:
        """The versions of a config."""
        return self._versions(Config, request.ref)

    async def _rotate(
        self, kind: type[Payload], request: volumes_pb2.RotateRequest, bytes_max: int
    ) -> volumes_pb2.RotateResponse:
        word, signal = kind.__name__.lower(), request.signal
        attached.signal(signal)
        new_id = self._context.new_id()

        def change(tx: Transaction) -> volumes_pb2.RotateResponse:
            found = tx.view.resolve(kind, request.ref)
            versions = view_of.versions_of(tx.view, found)
            old = versions[0]
            spec = replace(old.spec, data=request.data)
            if request.set_spec:
                labels, driver = dict(request.labels), request.template_driver
                spec = replace(spec, labels=labels, template_driver=driver)
            checks.payload(word, spec, bytes_max)
            same = replace(spec, labels=old.spec.labels) == old.spec
            if request.if_changed and same:
                if spec != old.spec:
                    tx.put(replace(old, spec=spec))
                return volumes_pb2.RotateResponse(id=old.id, version=old.version)
            new = rotation.next_version(old, new_id, spec, signal)
            tx.put(new)
            older = {version.id for version in versions[1:]}
            done = rotation.rotate(tx.view, old, new_id, older, live=request.live, now=self._now())
            for record in done.records:
                tx.put(record)
            for service in done.updates:
                revisions.put_service(tx, service, f"{word} {old.spec.name} version {new.version}")
            return volumes_pb2.RotateResponse(
                id=new_id,
                version=new.version,
                updated=done.updated,
                live=done.live,
                stayed=done.stayed,
                jobs=done.jobs,
            )

        return await self._store.update(change, confirm=True)

    def _versions(self, kind: type[Payload], ref: str) -> volumes_pb2.VersionList:
        view = self._store.view
        versions = view_of.versions_of(view, view.resolve(kind, ref))
        users: dict[str, list[str]] = {}
        for service in view.list(Service):
            for reference in references(service.spec.task.container, kind):
                users.setdefault(reference.id, []).append(service.spec.name)
        return volumes_pb2.VersionList(
            versions=[
                volumes_pb2.Version(
                    id=each.id,
                    version=each.version,
                    created_at=each.meta.created_at,
                    services=sorted(set(users.get(each.id, []))),
                )
                for each in versions
            ]
        )
