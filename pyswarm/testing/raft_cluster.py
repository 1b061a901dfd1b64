"""Managers' consensus in one process: real disks, real gRPC on loopback, a state that is a list."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from manager.raft.driver import RaftNode
from manager.raft.membership import AddMember, Member, Membership
from manager.raft.settings import RaftSettings
from manager.raft.transport import PeerTransport
from manager.raft.wal import Cryptor

NODE_KEY = "node-id"
CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
]
# A loaded machine must not lose its leader: tests that want an election stop the leader.
SETTINGS = RaftSettings(tick_seconds=0.05, election_ticks=20, heartbeat_ticks=2)


class TestCryptor:
    """AES-256-GCM with random nonces: enough for a test."""

    __test__ = False

    def __init__(self, key: bytes = bytes(32)) -> None:
        self._aead = AESGCM(key)

    def encrypt(self, data: bytes, aad: bytes) -> bytes:
        """Seal."""
        nonce = os.urandom(12)
        return nonce + self._aead.encrypt(nonce, data, aad)

    def decrypt(self, data: bytes, aad: bytes) -> bytes:
        """Open."""
        return self._aead.decrypt(data[:12], data[12:], aad)

    def key_of(self, data: bytes) -> int:
        """It has one key."""
        return 1


class ListMachine:
    """Keeps all payloads in order, with their indexes."""

    def __init__(self) -> None:
        self.items: list[tuple[int, str]] = []
        self.restored = 0

    @property
    def values(self) -> list[str]:
        """The payloads."""
        return [value for _, value in self.items]

    def apply(self, index: int, data: bytes) -> None:
        """Append."""
        assert not self.items or index > self.items[-1][0], f"{index} was applied twice"
        self.items.append((index, data.decode()))

    def capture(self) -> Callable[[], bytes]:
        """Encode later."""
        items = list(self.items)
        return lambda: json.dumps(items).encode()

    def restore(self, index: int, data: bytes) -> None:
        """Replace."""
        self.items = [(place, value) for place, value in json.loads(data)]
        self.restored = index


class Manager:
    """One member with its server."""

    def __init__(self, raft_id: int, directory: Path, settings: RaftSettings, port: int) -> None:
        self.raft_id = raft_id
        self.node_id = f"node{raft_id}"
        self.directory = directory
        self.machine = ListMachine()
        # Not SO_REUSEPORT: a stopped manager's port must refuse.
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.address = f"127.0.0.1:{self.port}"
        self._transport = PeerTransport(
            address=self.address, connect=self._connect, authorize=_authorize
        )
        self._transport.add_to(self._server)
        self._settings = settings
        self.cryptor: Cryptor = TestCryptor()
        self.node: RaftNode

    @property
    def member(self) -> Member:
        """As the others know it."""
        return Member(self.raft_id, self.node_id, self.address)

    def _connect(self, address: str, node_id: str) -> grpc.aio.Channel:
        del node_id
        naming: Any = _NameSender(self.node_id)
        return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS, interceptors=[naming])

    async def start(self, bootstrap: Membership | None = None) -> None:
        """Serve and take part."""
        self.node = RaftNode(
            self.raft_id,
            self.directory,
            self.cryptor,
            self._transport,
            self.machine,
            self._settings,
            bootstrap=bootstrap,
        )
        await self._server.start()
        await self.node.start()

    async def stop(self, transfer: bool = False) -> None:
        """Stop; without `transfer` as a process that is killed, but for the closed sockets."""
        await self.node.stop(transfer=transfer)
        await self._server.stop(None)


class _NameSender(grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[type-arg]
    """Says who calls, where no certificate does."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id

    async def intercept_stream_unary(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Add the name."""
        details = client_call_details._replace(metadata=((NODE_KEY, self._node_id),))
        return await continuation(details, request_iterator)


def _authorize(context: Any) -> str:
    return str(dict(context.invocation_metadata())[NODE_KEY])


class Cluster:
    """Members 1 to n; use `async with`."""

    def __init__(self, root: Path, settings: RaftSettings = SETTINGS) -> None:
        self._root = root
        self._settings = settings
        self.managers: dict[int, Manager] = {}
        self._ports: dict[int, int] = {}

    def make(self, raft_id: int) -> Manager:
        """A member that is not started, on the port that it had before."""
        directory = self._root / str(raft_id)
        manager = Manager(raft_id, directory, self._settings, self._ports.get(raft_id, 0))
        self._ports[raft_id] = manager.port
        return manager

    async def start(self, count: int) -> None:
        """A new cluster."""
        managers = [self.make(raft_id) for raft_id in range(1, count + 1)]
        members = Membership.of(manager.member for manager in managers)
        for manager in managers:
            self.managers[manager.raft_id] = manager
            await manager.start(members)

    async def restart(self, raft_id: int, *, moved: bool = False) -> Manager:
        """Start a stopped member from its disk; `moved`: on another port."""
        if moved:
            self._ports[raft_id] = 0
        manager = self.managers[raft_id] = self.make(raft_id)
        await manager.start()
        return manager

    async def join(self, raft_id: int) -> Manager:
        """Add a member with an empty disk."""
        manager = self.make(raft_id)
        self.managers[raft_id] = manager
        await manager.start()
        await (await self.leader()).node.change_membership(AddMember(manager.member), 30)
        return manager

    async def leader(self, seconds: float = 30.0) -> Manager:
        """The one that leads, with its state current."""
        found: Manager = await eventually(self._leading, seconds)
        return found

    def _leading(self) -> Manager | None:
        leading = [m for m in self.managers.values() if m.node.is_leader]
        return max(leading, key=lambda manager: manager.node.term) if leading else None

    async def stop(self, raft_id: int, transfer: bool = False) -> None:
        """Stop one member."""
        await self.managers.pop(raft_id).stop(transfer)

    async def __aenter__(self) -> Cluster:
        return self

    async def __aexit__(self, *_: object) -> None:
        for raft_id in list(self.managers):
            await self.stop(raft_id)


async def eventually(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true answer of `condition`; AssertionError after `seconds`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (found := condition()):
        assert loop.time() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.02)
    return found
