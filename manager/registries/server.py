"""The API of registries: logins of the cluster, and what a tag stands for now.

The leader asks, and not each node, so that all tasks of a service run the same image.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import grpc.aio

from manager.registries.logins import keep, login_of, stored
from manager.state.driver import Store
from manager.state.store import Transaction
from pyswarm.api.v1 import control_pb2, registry_pb2, registry_pb2_grpc
from pyswarm.errors import NotFound, SwarmError
from pyswarm.model import RegistryCredential
from pyswarm.registry import logins, reference
from pyswarm.registry.client import Access, Registry
from pyswarm.wire import to_message

RESOLVE_SECONDS: Final = 10.0
LOGIN_SECONDS: Final = 20.0
CALLS_AT_ONCE: Final = 8
"""Questions to registries at the same time; others wait, which counts as their registry's time."""

Context = grpc.aio.ServicerContext[Any, Any]


class RegistryServer(registry_pb2_grpc.RegistriesServicer):
    """Answers on the leader."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        new_id: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._registry = registry
        self._new_id = new_id
        self._clock = clock
        self._slots = asyncio.Semaphore(CALLS_AT_ONCE)

    async def Login(
        self, request: control_pb2.RegistryLogin, context: Context
    ) -> registry_pb2.LoginReply:
        """Check with the registry, and keep; an older login for it is replaced."""
        login = login_of(request)
        server = logins.server_name(request.server or reference.DEFAULT_DOMAIN)
        try:
            async with asyncio.timeout(LOGIN_SECONDS), self._slots:
                await self._registry.login(server, login)
        except TimeoutError:
            raise SwarmError(
                f"the registry {server} gave no answer in {LOGIN_SECONDS:g} s"
            ) from None
        fresh, now = self._new_id(), self._clock()
        await self._store.update(lambda tx: keep(tx, server, login, "", fresh, now))
        return registry_pb2.LoginReply(server=server)

    async def Logout(self, request: control_pb2.Reference, context: Context) -> control_pb2.Empty:
        """Forget the cluster's login for a registry."""
        server = logins.server_name(request.ref or reference.DEFAULT_DOMAIN)

        def change(tx: Transaction) -> None:
            found = stored(tx, server, "")
            if found is None:
                raise NotFound(f"not logged in to {server}")
            tx.delete(RegistryCredential, found.id)

        await self._store.update(change)
        return control_pb2.Empty()

    async def ListCredentials(
        self, request: control_pb2.Empty, context: Context
    ) -> registry_pb2.CredentialList:
        """All logins, none with its password."""
        found = self._store.view.list(RegistryCredential)
        veiled = [to_message(replace(each, password="")) for each in found]
        return registry_pb2.CredentialList(credentials=veiled)

    async def ResolveImage(
        self, request: registry_pb2.ResolveImageRequest, context: Context
    ) -> registry_pb2.ResolvedImage:
        """The image with its tag and digest; without a digest, why the registry gave none."""
        image = reference.with_tag(request.image)
        parsed = reference.parse(image)
        if request.HasField("login"):
            login: logins.Login | None = login_of(request.login)
        else:
            login = self._login_for(image, request.service_id)
        try:
            async with asyncio.timeout(RESOLVE_SECONDS), self._slots:
                digest, platforms = await self._registry.resolve(parsed, Access(login))
        except TimeoutError:
            problem = f"the registry {parsed.domain} gave no answer in {RESOLVE_SECONDS:g} s"
            return registry_pb2.ResolvedImage(image=image, problem=problem)
        except SwarmError as error:
            return registry_pb2.ResolvedImage(image=image, problem=error.message)
        return registry_pb2.ResolvedImage(
            image=image if parsed.digest else reference.pinned(image, digest),
            platforms=[to_message(each) for each in platforms],
        )

    def _login_for(self, image: str, service_id: str) -> logins.Login | None:
        known = self._store.view.list(RegistryCredential)
        found = logins.chosen(image, service_id, known)
        return logins.Login(user=found.user, password=found.password) if found else None
