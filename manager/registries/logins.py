"""Logins for registries as records of the state. Pure."""

from __future__ import annotations

from typing import Final

from manager.state.store import Transaction
from pyswarm.api.v1 import control_pb2
from pyswarm.errors import InvalidArgument
from pyswarm.model import Meta, RegistryCredential
from pyswarm.registry.logins import Login

TEXT_MAX: Final = 16 * 1024
"""Of a user or a password: tokens of cloud registries have some thousand characters."""


def login_of(message: control_pb2.RegistryLogin) -> Login:
    """The login of a message; raises InvalidArgument for one that no registry can have."""
    if not message.user or ":" in message.user:
        raise InvalidArgument("the name of a registry's user must not be empty or have a colon")
    if max(len(message.user), len(message.password)) > TEXT_MAX:
        raise InvalidArgument(f"a registry's login is longer than {TEXT_MAX} characters")
    return Login(user=message.user, password=message.password)


def stored(tx: Transaction, server: str, service_id: str) -> RegistryCredential | None:
    """The login for a registry, of a service or (empty) of all; None where there is none."""
    found = tx.view.list(RegistryCredential)
    same = (each for each in found if (each.server, each.service_id) == (server, service_id))
    return next(same, None)


def keep(
    tx: Transaction, server: str, login: Login, service_id: str, fresh_id: str, now: float
) -> None:
    """Store a login, in the place of an older one for the same registry and service."""
    old = stored(tx, server, service_id)
    if old and (old.user, old.password) == (login.user, login.password):
        return
    tx.put(
        RegistryCredential(
            id=old.id if old else fresh_id,
            meta=Meta(created_at=old.meta.created_at if old else now, updated_at=now),
            server=server,
            user=login.user,
            password=login.password,
            service_id=service_id,
        )
    )
