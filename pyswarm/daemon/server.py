"""The daemon's unix socket: what only this machine's root may say, and the control API."""

from __future__ import annotations

import os
import platform
from typing import Any

import grpc

from certs.keyfile import LOCKED
from manager.control.api import SERVICES
from pyswarm import __version__
from pyswarm.api.v1 import control_pb2, local_pb2, local_pb2_grpc
from pyswarm.daemon import machine
from pyswarm.daemon.node import SwarmNode
from pyswarm.errors import FailedPrecondition
from pyswarm.model import Node, TaskState

NOT_IN_SWARM = (
    'This node is not a swarm manager. Use "pyswarm swarm init" or "pyswarm swarm join" to connect '
    "this node to swarm and try again."
)
NOT_MANAGER = (
    "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. "
    "Please run this command on a manager node."
)

Context = grpc.aio.ServicerContext


def why_no_manager(node: SwarmNode) -> str:
    """The sentence for calls that only a manager answers, where the node is none, or is one that
    the others have removed: what it knows is of the past, and they seem lost to it."""
    if node.locked:
        return LOCKED
    if node.removed:
        return node.problem
    return NOT_MANAGER if node.membership else NOT_IN_SWARM


class LocalServer(local_pb2_grpc.LocalServicer):
    """Being in a swarm or not."""

    def __init__(self, node: SwarmNode) -> None:
        self._node = node

    async def Init(self, request: local_pb2.InitRequest, context: Any) -> local_pb2.InitResponse:
        """A new swarm."""
        return await self._node.init(request)

    async def Join(self, request: local_pb2.JoinRequest, context: Any) -> local_pb2.JoinResponse:
        """Into an existing swarm."""
        return await self._node.join(request)

    async def Leave(self, request: local_pb2.LeaveRequest, context: Any) -> control_pb2.Empty:
        """Out of the swarm."""
        await self._node.leave(request.force)
        return control_pb2.Empty()

    async def Unlock(self, request: local_pb2.UnlockRequest, context: Any) -> control_pb2.Empty:
        """Open a locked manager's keys."""
        await self._node.unlock(request.key)
        return control_pb2.Empty()

    async def Info(self, request: control_pb2.Empty, context: Any) -> local_pb2.InfoResponse:
        """What this machine is and does."""
        node = self._node
        status = node.agent.status() if node.agent else None
        info = local_pb2.InfoResponse(
            version=__version__,
            hostname=node.settings.hostname,
            state="locked" if node.locked else "active" if node.membership else "inactive",
            error=node.problem or node.certificate_problem or (status.problem if status else ""),
            runtime=node.runtime_name,
            cpus=os.cpu_count() or 1,
            memory_bytes=machine.memory_bytes(),
            operating_system=machine.operating_system(),
            architecture=machine.architecture(),
            kernel=platform.release(),
            state_directory=str(node.settings.state_directory),
            python=platform.python_version(),
        )
        if status is not None:
            info.containers = sum(status.tasks.values())
            info.containers_running = status.tasks.get(TaskState.RUNNING, 0)
        if node.membership is not None:
            info.node_id = node.membership.node_id
            info.cluster_id = node.membership.cluster_id
            info.manager = node.membership.manager
            info.address = node.membership.address
            info.manager_addresses.extend(node.manager_addresses())
        if node.manager is not None:
            _describe_manager(info, node)
        return info


def _describe_manager(info: local_pb2.InfoResponse, node: SwarmNode) -> None:
    manager = node.manager
    assert manager is not None
    info.leader = manager.is_leading()
    info.managers = len(manager.manager_addresses())
    info.nodes = manager.store.view.count(Node)
    info.leader_address = manager.leader_address()
    info.raft_term = manager.raft.term
    info.raft_applied = manager.raft.last_applied


class ControlHere(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # not generic at run time
    """The API for users on the socket: the manager's, or a sentence why there is none."""

    def __init__(self, node: SwarmNode) -> None:
        self._node = node
        self._methods = {f"/{s.full_name}/{m.name}": m for s in SERVICES for m in s.methods}

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a call."""
        method = self._methods.get(handler_call_details.method)
        if method is None:
            return None
        if self._node.manager is not None and not self._node.removed:
            return self._node.manager.control.service(handler_call_details)
        text = why_no_manager(self._node)

        async def refuse(request: Any, context: Any) -> Any:
            raise FailedPrecondition(text)

        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(refuse)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(refuse)
        return grpc.unary_unary_rpc_method_handler(refuse)
