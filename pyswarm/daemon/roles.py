"""A node follows its role: its certificate says what it is, and its manager starts and stops.

leader's record ── session, or raft's goodbye ──▶ Keeper.demand ──▶ new certificate
                                                                         │
JoinRaft until the managers know it ◀── start ── MANAGER ◀───────────────┤
              stop, forget the state ◀────────── WORKER ◀────────────────┘
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from certs.driver import Keeper
from manager.driver import Manager
from pyswarm.aio import Backoff, Supervisor
from pyswarm.daemon.leader import at_leader
from pyswarm.errors import DeadlineExceeded, PermissionDenied, SwarmError, Unavailable
from pyswarm.model import NodeRole
from pyswarm.rpc import ChannelPool

log = logging.getLogger(__name__)

JOIN_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 5.0


class Office(Protocol):
    """The node as its role sees it."""

    manager: Manager | None
    problem: str

    def manager_addresses(self) -> list[str]:
        """The managers that the node knows."""
        ...

    async def begin_manager(self) -> None:
        """Start the manager; raises SwarmError and starts nothing."""
        ...

    async def end_manager(self) -> None:
        """Stop the manager, and forget the state that it had."""
        ...


class RoleFollower:
    """Follows while `run` runs; `close` ends the rest. `lock` is held while the manager changes."""

    def __init__(
        self, office: Office, keeper: Keeper, pool: ChannelPool, lock: asyncio.Lock
    ) -> None:
        self._office = office
        self._keeper = keeper
        self._pool = pool
        self._lock = lock
        self._news = asyncio.Event()
        self._watching = Supervisor("role")
        keeper.on_change(lambda fresh: self._news.set())

    async def close(self) -> None:
        """Watch no more."""
        await self._watching.close()

    def said(self, role: NodeRole) -> None:
        """The managers say which role this node has: its certificate must say the same."""
        if role is not self._keeper.current().identity.role:
            log.info("this node is to be a %s", role.name.lower())
            self._keeper.demand()

    async def run(self) -> None:
        """Be a manager while the certificate says so, and only then."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                async with self._lock:
                    await self._take_role()
            except (SwarmError, OSError) as error:
                self._office.problem = f"this node cannot take its role: {error}"
                log.error("%s; trying again", self._office.problem)
                await asyncio.sleep(RETRY_SECONDS)
                self._news.set()

    async def _take_role(self) -> None:
        manager, role = self._office.manager, self._keeper.current().identity.role
        if manager is not None and (role is NodeRole.WORKER or manager.raft.removed.is_set()):
            await self._office.end_manager()
            log.info("the manager of this node has ended; its containers go on running")
        if role is NodeRole.MANAGER and self._office.manager is None:
            await self._office.begin_manager()
            self._office.problem = ""
            assert self._office.manager is not None, "it was just started"
            self.keep_joined(self._office.manager)
            log.info("this node is a manager now")

    def watch(self, manager: Manager) -> None:
        """Ask for a new certificate when the others have taken this manager out."""
        self._watching.start(self._watch_removal(manager), "removal")

    async def _watch_removal(self, manager: Manager) -> None:
        await manager.raft.removed.wait()
        if self._office.manager is manager:
            log.warning("this manager was taken out of the consensus")
            self._keeper.demand()

    def keep_joined(self, manager: Manager) -> None:
        """See to it that the managers know this one, at its address of today."""
        self._watching.start(self._until_joined(manager), "join")

    async def _until_joined(self, manager: Manager) -> None:
        backoff, last = Backoff(0.5, 10.0), ""
        own = manager.config.address
        while self._office.manager is manager and not manager.is_known():
            others = [each for each in self._office.manager_addresses() if each != own]
            try:
                # Itself as the last: it may be the only one, and have moved.
                request = manager.joining()
                await at_leader(self._pool, [*others, own], "JoinRaft", request, JOIN_SECONDS)
            except SwarmError as error:
                if error.message != last:
                    log.warning("the managers do not take this one in yet: %s", error.message)
                last = error.message
                if isinstance(error, PermissionDenied):
                    self._keeper.demand()
            await asyncio.sleep(backoff.next())


async def join_raft(pool: ChannelPool, addresses: list[str], manager: Manager) -> None:
    """Into the managers' consensus: returns when this manager has its vote, or the state at least
    where the vote is long in coming."""
    await at_leader(pool, addresses, "JoinRaft", manager.joining(), JOIN_SECONDS)
    try:
        await manager.raft.wait_until_voter(JOIN_SECONDS)
    except DeadlineExceeded:
        if manager.store.view.cluster is None:
            raise Unavailable(
                f"the swarm's state did not arrive within {JOIN_SECONDS:g} s: look at the log of "
                "this daemon and of the leader's"
            ) from None
        log.warning("this manager has no vote yet: it gets one when it has caught up")
