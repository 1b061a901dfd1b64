"""Who may call what: one table of all RPCs, checked at each call.

A connection outlives decisions: a node may be removed while its connection stands. So the check
is made for each call and not for each connection, streams of a removed node are cut by `cut`, and
the servers limit the age of connections as the last resort.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum
from typing import Any

from pyswarm.errors import PermissionDenied, Unavailable
from pyswarm.model.identity import Identity
from pyswarm.model.states import NodeRole
from pyswarm.rpc.handlers import Around, Behaviour, Context
from pyswarm.rpc.identity import _caller, peer_identity


class Access(Enum):
    """Who may make a call: PUBLIC anybody, NODE every member of the swarm, MANAGER managers.

    PEER is a manager too; whether it was demoted is asked by raft, which must tell it so.
    """

    PUBLIC = 0
    NODE = 1
    MANAGER = 2
    PEER = 3


Table = Mapping[str, Access]
"""Full method name ("/package.Service/Method") -> who may call it."""


class Authorizer(Around):
    """Refuses what `table` does not allow; handlers find the node with `rpc.caller()`.

    `is_removed(node_id)` comes from the node's own copy of the state, which may lag behind; that
    is safe because a removed id never comes back. A node's *role* is taken from its certificate
    for the same reason: a manager that lags must not refuse the new leader that would bring it
    up to date. `is_demoted(identity)` knows the certificates that a demotion has made worthless.
    """

    def __init__(
        self,
        table: Table,
        cluster_id: str,
        is_removed: Callable[[str], bool],
        is_demoted: Callable[[Identity], bool] = lambda identity: False,
    ) -> None:
        self._table = table
        self._cluster_id = cluster_id
        self._is_removed = is_removed
        self._is_demoted = is_demoted
        self._cut: set[asyncio.Task[Any]] = set()
        # In their order: a set of tasks has another one in each run.
        self._running: defaultdict[str, dict[asyncio.Task[Any], None]] = defaultdict(dict)

    async def run(self, method: str, behaviour: Behaviour, request: Any, context: Context) -> Any:
        """A call that its caller may make, and that `cut` can end."""
        identity = self._admit(method, context)
        if identity is None:
            return await behaviour(request, context)
        token = _caller.set(identity)
        try:
            return await self._cuttable(identity.node_id, behaviour(request, context))
        finally:
            _caller.reset(token)

    def _admit(self, method: str, context: Context) -> Identity | None:
        access = self._table.get(method)
        if access is None:
            raise PermissionDenied(f"{method} is in no access table, so nobody may call it")
        if access is Access.PUBLIC:
            return None
        identity = peer_identity(context.auth_context())
        if identity.cluster_id != self._cluster_id:
            raise PermissionDenied(
                f"node {identity.node_id} belongs to swarm {identity.cluster_id}, "
                f"and this is {self._cluster_id}"
            )
        self._refuse_removed(identity.node_id)
        if access is Access.NODE:
            return identity
        if identity.role is not NodeRole.MANAGER:
            raise PermissionDenied(
                f"{method} is for managers, and node {identity.node_id} is a worker"
            )
        if access is Access.MANAGER and self._is_demoted(identity):
            raise PermissionDenied(
                f"{method} is for managers, and node {identity.node_id} was demoted"
            )
        return identity

    def _refuse_removed(self, node_id: str) -> None:
        if self._is_removed(node_id):
            raise PermissionDenied(f"node {node_id} was removed from the swarm")

    async def _cuttable(self, node_id: str, call: Awaitable[Any]) -> Any:
        task = asyncio.current_task()
        assert task is not None, "an RPC runs in a task"
        self._running[node_id][task] = None
        try:
            return await call
        except asyncio.CancelledError:
            # Either the peer has gone, and nobody reads what we say; or this is a cut.
            self._refuse_removed(node_id)
            if task in self._cut:
                raise Unavailable("the node's role has changed: call again") from None
            raise
        finally:
            self._cut.discard(task)
            self._running[node_id].pop(task, None)
            if not self._running[node_id]:
                del self._running[node_id]

    def cut(self, node_id: str) -> None:
        """End the calls of a node that was just removed or demoted (`is_removed` or `is_demoted`
        must say so already); what it may still do it asks for again."""
        for task in list(self._running.get(node_id, ())):
            self._cut.add(task)
            task.cancel()


def methods(services: Iterable[Any]) -> list[str]:
    """Full method names of service descriptors (`dispatcher_pb2.DESCRIPTOR.services_by_name
    .values()`), for the test that each RPC has its line in a table."""
    return sorted(f"/{s.full_name}/{m.name}" for s in services for m in s.methods)
