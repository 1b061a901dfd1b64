"""Calls about secrets and configs."""

from __future__ import annotations

from typing import Any, TypeVar

import grpc.aio

from manager.control import checks, edits, view_of
from manager.control.calls.server import Calls
from manager.control.filters import filters_of
from manager.state.store import Transaction
from pyswarm.api.v1 import control_pb2, objects_pb2
from pyswarm.model import Config, PayloadSpec, Secret
from pyswarm.model.payload import CONFIG_BYTES_MAX, SECRET_BYTES_MAX
from pyswarm.wire import from_message, to_message

Payload = TypeVar("Payload", Secret, Config)


class PayloadCalls(Calls):
    """Secrets and configs: list, create, label, remove."""

    async def ListSecrets(
        self, request: control_pb2.ListRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.SecretList:
        """All secrets that match, without their content."""
        wanted = filters_of(request)
        found = [s for s in view_of.newest(self._store.view, Secret) if wanted.payload(s)]
        return control_pb2.SecretList(secrets=[to_message(view_of.veiled(s)) for s in found])

    async def GetSecret(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Secret:
        """One secret, without its content."""
        secret = self._store.view.resolve(Secret, request.ref)
        return to_message(view_of.veiled(secret))  # type: ignore[no-any-return]

    async def CreateSecret(
        self, request: control_pb2.CreatePayloadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Created:
        """A new secret."""
        return await self._create_payload(Secret, request, SECRET_BYTES_MAX)

    async def UpdateSecret(
        self, request: control_pb2.UpdatePayloadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Secret:
        """New labels."""
        secret = await self._update_payload(Secret, request)
        return to_message(view_of.veiled(secret))  # type: ignore[no-any-return]

    async def RemoveSecret(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Empty:
        """Remove a secret that no service uses, with all its versions."""
        return await self._remove_payload(Secret, request)

    async def ListConfigs(
        self, request: control_pb2.ListRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.ConfigList:
        """All configs that match."""
        wanted = filters_of(request)
        found = [c for c in view_of.newest(self._store.view, Config) if wanted.payload(c)]
        return control_pb2.ConfigList(configs=[to_message(c) for c in found])

    async def GetConfig(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Config:
        """One config with its content."""
        return self._get(Config, request.ref)  # type: ignore[no-any-return]

    async def CreateConfig(
        self, request: control_pb2.CreatePayloadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Created:
        """A new config."""
        return await self._create_payload(Config, request, CONFIG_BYTES_MAX)

    async def UpdateConfig(
        self, request: control_pb2.UpdatePayloadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Config:
        """New labels."""
        return to_message(await self._update_payload(Config, request))  # type: ignore[no-any-return]

    async def RemoveConfig(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Empty:
        """Remove a config that no service uses, with all its versions."""
        return await self._remove_payload(Config, request)

    async def _create_payload(
        self, kind: type[Payload], request: control_pb2.CreatePayloadRequest, bytes_max: int
    ) -> control_pb2.Created:
        spec = from_message(PayloadSpec, request.spec)
        checks.payload(kind.__name__.lower(), spec, bytes_max)
        payload_id = self._context.new_id()

        def change(tx: Transaction) -> None:
            view_of.require_free_name(tx.view, kind, spec.name)
            tx.put(kind(id=payload_id, spec=spec))

        await self._store.update(change)
        return control_pb2.Created(id=payload_id)

    async def _update_payload(
        self, kind: type[Payload], request: control_pb2.UpdatePayloadRequest
    ) -> Payload:
        spec = from_message(PayloadSpec, request.spec)

        def change(tx: Transaction) -> Payload:
            old = self._current(tx, kind, request.id, request.version)
            new = edits.update_labels(old, spec, self._now())
            if new is not old:  # a stack deployed again names its secrets again
                tx.put(new)
            return new

        # The one that it equals may be in flight: this is no success before that is one.
        return await self._store.update(change, confirm=True)

    async def _remove_payload(
        self, kind: type[Payload], request: control_pb2.Reference
    ) -> control_pb2.Empty:
        def change(tx: Transaction) -> None:
            payload = tx.view.resolve(kind, request.ref)
            view_of.require_unused_payload(tx.view, payload)
            for version in view_of.versions_of(tx.view, payload):
                tx.delete(kind, version.id)

        await self._store.update(change)
        return control_pb2.Empty()
