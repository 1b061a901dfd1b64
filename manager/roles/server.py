"""The RPCs by which managers join and nodes leave; served on the leader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import grpc

from manager.raft.driver import RaftNode
from manager.raft.membership import AddMember, Member, RemoveMember
from manager.roles.quorum import check_removal, raft_id_of, reachable
from manager.state.driver import Store
from manager.state.store import Transaction
from pyswarm.api.v1 import control_pb2, control_pb2_grpc
from pyswarm.errors import AlreadyExists, FailedPrecondition, NotLeader
from pyswarm.model import ManagerStatus, Node, NodeState
from pyswarm.model.identity import Identity, node_name
from pyswarm.rpc import ChannelPool

REACH_SECONDS = 5.0
CHANGE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RolesContext:
    """What the server is given."""

    store: Store
    raft: RaftNode
    pool: ChannelPool
    caller: Callable[[], Identity]
    leader_address: Callable[[], str]
    said_goodbye: Callable[[str], None]


class MembershipServer(control_pb2_grpc.MembershipServicer):
    """Adds and removes managers, one at a time."""

    def __init__(self, context: RolesContext) -> None:
        self._context = context
        self._one_at_a_time = asyncio.Lock()

    def _require_leader(self) -> None:
        if not self._context.raft.is_leader:
            raise NotLeader(leader=self._context.leader_address())

    async def JoinRaft(
        self,
        request: control_pb2.JoinRaftRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> control_pb2.JoinRaftResponse:
        """Add the calling manager, after a look whether it can be reached where it says."""
        self._require_leader()
        caller = self._context.caller()
        await self._reach(request.address, caller.node_id)
        raft_id = raft_id_of(caller.node_id)
        member = Member(raft_id, caller.node_id, request.address)
        async with self._one_at_a_time:
            # Where the answer of an earlier try was lost, it is a member already.
            with suppress(AlreadyExists):
                await self._context.raft.change_membership(AddMember(member), CHANGE_SECONDS)
            await self._context.store.update(
                lambda tx: _set_manager(
                    tx, caller.node_id, ManagerStatus(raft_id=raft_id, address=request.address)
                )
            )
        members = self._context.raft.membership.members
        return control_pb2.JoinRaftResponse(
            raft_id=raft_id,
            members=[
                control_pb2.RaftMember(raft_id=m.raft_id, node_id=m.node_id, address=m.address)
                for m in members
            ],
        )

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

    async def Leave(
        self,
        request: control_pb2.RemoveSelfRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> control_pb2.Empty:
        """Take the calling node out: its raft membership ends, and the node counts as down."""
        self._require_leader()
        caller = self._context.caller()
        raft = self._context.raft
        raft_id = raft_id_of(caller.node_id)
        async with self._one_at_a_time:
            if raft.membership.get(raft_id) is not None:
                if raft_id == raft.raft_id:
                    raise FailedPrecondition("the leader hands its office over before it leaves")
                if not request.force:
                    check_removal(raft.membership.voters, reachable(raft.status()), raft_id)
                await raft.change_membership(RemoveMember(raft_id), CHANGE_SECONDS)
            await self._context.store.update(lambda tx: _left(tx, caller.node_id))
        self._context.said_goodbye(caller.node_id)
        return control_pb2.Empty()


def _set_manager(tx: Transaction, node_id: str, status: ManagerStatus | None) -> None:
    node = tx.require(Node, node_id)
    if node.manager != status:
        tx.put(replace(node, manager=status))


def _left(tx: Transaction, node_id: str) -> None:
    node = tx.get(Node, node_id)
    if node is not None:
        status = replace(node.status, state=NodeState.DOWN, message="the node left the swarm")
        tx.put(replace(node, manager=None, status=status))
