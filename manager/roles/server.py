"""The RPCs by which managers join and nodes leave; served on the leader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from manager.raft.driver import RaftNode
from manager.roles.driver import RoleManager
from pyswarm.api.v1 import control_pb2, control_pb2_grpc
from pyswarm.model.identity import Identity


class MembershipServer(control_pb2_grpc.MembershipServicer):
    """Each node speaks for itself: `caller` is who its certificate says."""

    def __init__(self, roles: RoleManager, raft: RaftNode, caller: Callable[[], Identity]) -> None:
        self._roles = roles
        self._raft = raft
        self._caller = caller

    async def JoinRaft(
        self,
        request: control_pb2.JoinRaftRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> control_pb2.JoinRaftResponse:
        """Add the calling manager, or move it."""
        await self._roles.join(self._caller().node_id, request.raft_id, request.address)
        return control_pb2.JoinRaftResponse(
            raft_id=request.raft_id,
            members=[
                control_pb2.RaftMember(raft_id=m.raft_id, node_id=m.node_id, address=m.address)
                for m in self._raft.membership.members
            ],
        )

    async def Leave(
        self,
        request: control_pb2.RemoveSelfRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> control_pb2.Empty:
        """Take the calling node out."""
        node_id = self._caller().node_id
        if request.ask:
            await self._roles.check_leave(node_id)
        else:
            await self._roles.leave(node_id, request.force)
        return control_pb2.Empty()
