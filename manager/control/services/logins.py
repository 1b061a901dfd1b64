"""The logins for registries that services bring along with `--with-registry-auth`."""

from __future__ import annotations

from manager.registries.logins import keep, login_of
from manager.state.store import Transaction
from pyswarm.api.v1 import control_pb2
from pyswarm.model import RegistryCredential
from pyswarm.registry.logins import server_name


def keep_login(
    tx: Transaction,
    service_id: str,
    fresh_id: str,
    login: control_pb2.RegistryLogin,
    now: float,
) -> None:
    """Store what a request brings for a service; one without a login leaves what is there."""
    if login.user:
        keep(tx, server_name(login.server), login_of(login), service_id, fresh_id, now)


def forget_login(tx: Transaction, service_id: str) -> None:
    """The service goes, and its logins with it."""
    for each in tx.view.list(RegistryCredential):
        if each.service_id == service_id:
            tx.delete(RegistryCredential, each.id)
