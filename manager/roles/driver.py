"""The managers' membership on the leader: joins, leaves, promotions, demotions, hand-overs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from manager.raft.driver import RaftNode
from manager.raft.membership import AddMember, Member, RemoveMember, UpdateMember
from manager.roles.plan import (
    Drop,
    GiveVote,
    Grant,
    HandOver,
    Note,
    Outcome,
    Revoke,
    Step,
    check_demotion,
    plan,
    unwanted,
)
from manager.roles.quorum import check_removal, reachable
from manager.state import Transaction, View
from manager.state.driver import Commit, Store
from pyswarm.aio import Lagged, Subscription
from pyswarm.errors import AlreadyExists, FailedPrecondition, NotLeader, SwarmError
from pyswarm.model import ManagerStatus, Node, NodeRole, NodeState
from pyswarm.model.identity import node_name
from pyswarm.rpc import ChannelPool

log = logging.getLogger(__name__)

REACH_SECONDS: Final = 5.0
CHANGE_SECONDS: Final = 10.0
CATCH_UP_SECONDS: Final = 0.1
"""Between two looks at a learner: no commit tells that it has caught up."""
RETRY_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RolesContext:
    """What the role manager is given."""

    store: Store
    raft: RaftNode
    pool: ChannelPool
    leader_address: Callable[[], str]
    said_goodbye: Callable[[str], None]
    clock: Callable[[], float]
    """Seconds since the epoch, as in certificates."""


class RoleManager:
    """Changes the managers, one at a time; `run` for as long as this manager leads."""

    def __init__(self, context: RolesContext) -> None:
        self._context = context
        self._store = context.store
        self._raft = context.raft
        self._one_at_a_time = asyncio.Lock()
        self._waits: dict[str, str] = {}

    # ---- what nodes ask for ----

    def _require_leader(self) -> None:
        if not self._raft.is_leader:
            raise NotLeader(leader=self._context.leader_address())

    async def join(self, node_id: str, raft_id: int, address: str) -> None:
        """Make a manager a learner, after a look whether it can be reached where it says; one that
        is a member already is moved there. A member of the node under another raft id, which has
        lost its disk, goes first."""
        self._require_leader()
        self._require_manager(node_id)
        await self._reach(address, node_id)
        async with self._one_at_a_time:
            self._require_manager(node_id)
            for member in self._raft.membership.members:
                if member.node_id == node_id and member.raft_id != raft_id:
                    await self._remove(member.raft_id)
            known = self._raft.membership.get(raft_id)
            if known is None:
                member = Member(raft_id, node_id, address, learner=True)
                await self._raft.change_membership(AddMember(member), CHANGE_SECONDS)
            elif known.node_id != node_id:
                raise AlreadyExists(f"raft member {raft_id:x} is another node's: draw another id")
            elif known.address != address:
                log.info("manager %s moves from %s to %s", node_id, known.address, address)
                await self._raft.change_membership(UpdateMember(raft_id, address), CHANGE_SECONDS)
            await self._note(node_id, ManagerStatus(raft_id=raft_id, address=address))

    def _require_manager(self, node_id: str) -> None:
        node = self._store.view.require(Node, node_id)
        if NodeRole.WORKER in (node.role, node.spec.role):
            raise FailedPrecondition(f"node {node_id} is to be a worker: promote it first")

    async def _reach(self, address: str, node_id: str) -> None:
        channel = self._context.pool.get(address, node_name(node_id))
        try:
            async with asyncio.timeout(REACH_SECONDS):
                await channel.channel_ready()
        except TimeoutError as error:
            raise FailedPrecondition(
                f"the leader cannot reach the new manager at {address}: "
                "check its advertised address and that TCP 2377 is open there"
            ) from error

    async def check_leave(self, node_id: str) -> None:
        """Refuse a node that the managers cannot do without; FailedPrecondition."""
        self._require_leader()
        raft = self._raft
        for member in raft.membership.members:
            if member.node_id == node_id:
                alive = reachable(await raft.settled_status(CHANGE_SECONDS))
                check_removal(raft.membership.voters, alive, member.raft_id)

    async def leave(self, node_id: str, force: bool) -> None:
        """Take a node out: its raft membership ends, and it counts as down."""
        self._require_leader()
        async with self._one_at_a_time:
            for member in self._raft.membership.members:
                if member.node_id != node_id:
                    continue
                if member.raft_id == self._raft.raft_id:
                    raise FailedPrecondition("the leader hands its office over before it leaves")
                await self._remove(member.raft_id, force)
            await self._store.update(lambda tx: _left(tx, node_id))
        self._context.said_goodbye(node_id)

    async def _remove(self, raft_id: int, force: bool = False) -> None:
        raft = self._raft
        if not force:
            alive = reachable(await raft.settled_status(CHANGE_SECONDS))
            check_removal(raft.membership.voters, alive, raft_id)
        await raft.change_membership(RemoveMember(raft_id), CHANGE_SECONDS)

    # ---- what users ask for ----

    def check_role(self, view: View, node: Node, role: NodeRole) -> None:
        """Refuse a role that the node cannot take; FailedPrecondition."""
        if node.spec.role is NodeRole.MANAGER and role is NodeRole.WORKER:
            raft = self._raft
            check_demotion(node, view.list(Node), raft.membership, raft.status())

    def check_unused(self, node: Node) -> None:
        """Refuse to remove a node that is a manager; FailedPrecondition."""
        if any(member.node_id == node.id for member in self._raft.membership.members):
            raise FailedPrecondition(
                f"node {node.id} is a cluster manager and is a member of the raft cluster. "
                "It must be demoted to worker before removal"
            )

    async def hand_over(self) -> None:
        """Make another manager the leader, where this one leads and there is one; a drained one
        only where there is no other."""
        nodes = self._store.view.list(Node)
        await self._raft.hand_over(unwanted(nodes, self._raft.membership))

    # ---- the loop ----

    async def run(self, store: Store) -> None:
        """Bring the managers to what the specifications ask for, while this manager leads."""
        with store.watch(kinds=(Node,)) as commits:
            while True:
                outcome = self._look()
                moved = await self._take(outcome)
                if not moved:
                    await _wait(commits, _patience(outcome))

    def _look(self) -> Outcome:
        nodes = {node.id: node for node in self._store.view.list(Node)}
        raft = self._raft
        outcome = plan(nodes, raft.membership, raft.status(), self._context.clock())
        for node_id, why in outcome.waits.items():
            if self._waits.get(node_id) != why:
                log.warning("the role of node %s stays for now: %s", node_id, why)
        self._waits = dict(outcome.waits)
        return outcome

    async def _take(self, outcome: Outcome) -> bool:
        """Take the first step that succeeds; False where none did."""
        for step in outcome.steps:
            try:
                async with self._one_at_a_time:
                    if await self._do(step):
                        return True
            except NotLeader:
                return False
            except SwarmError as error:
                log.warning("%s did not succeed, a later try follows: %s", step, error.message)
        return False

    async def _do(self, step: Step) -> bool:
        """Take a step; False where the record says so already, or will as soon as a change that is
        under way is committed. Nothing was waited for then, so another look would see the same."""
        log.info("managers: %s", step)
        match step:
            case Grant(node_id):
                return await self._change(
                    node_id, lambda node: replace(node, role=NodeRole.MANAGER)
                )
            case Revoke(node_id):
                now = self._context.clock()
                return await self._change(
                    node_id,
                    lambda node: replace(node, role=NodeRole.WORKER, manager=None, demoted_at=now),
                )
            case Note(node_id, status):
                return await self._note(node_id, status)
            case Drop(raft_id):
                await self._remove(raft_id)
            case GiveVote(member):
                voter = AddMember(replace(member, learner=False))
                await self._raft.change_membership(voter, CHANGE_SECONDS)
            case HandOver(to):
                await self._raft.transfer_leadership(to)
        return True

    async def _note(self, node_id: str, status: ManagerStatus | None) -> bool:
        return await self._change(node_id, lambda node: replace(node, manager=status))

    async def _change(self, node_id: str, change: Callable[[Node], Node]) -> bool:
        """Change a node's record; whether there was something to write."""

        def write(tx: Transaction) -> bool:
            node = tx.get(Node, node_id)
            if node is None or change(node) == node:
                return False
            tx.put(change(node))
            return True

        return await self._store.update(write)


def _patience(outcome: Outcome) -> float:
    if outcome.steps or outcome.waits:
        return RETRY_SECONDS
    return CATCH_UP_SECONDS if outcome.learners else IDLE_SECONDS


async def _wait(commits: Subscription[Commit], seconds: float) -> None:
    """Return when a node's record has changed, or after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await commits.get()
    except (TimeoutError, Lagged):
        return


def _left(tx: Transaction, node_id: str) -> None:
    node = tx.get(Node, node_id)
    if node is not None:
        status = replace(
            node.status,
            state=NodeState.DOWN,
            message="the node left the swarm",
            silent_since=tx.now,
            left=True,
        )
        tx.put(replace(node, manager=None, status=status))
