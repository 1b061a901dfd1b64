"""This machine's part in a swarm: joins, serves, remembers, leaves.

Node ── swarm.json, certificates ── survives restarts
  ├── Agent    always, once in a swarm
  └── Manager  when the certificate says so
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import time
from dataclasses import replace
from typing import Any

import certs.client as ca_client
from agent.driver import Agent
from agent.executor.containers import Containers
from certs import x509
from certs.authority import new_authority
from certs.disk import CertificateDirectory
from certs.driver import Keeper
from manager.control import view_of
from manager.driver import Manager, ManagerConfig, new_id
from manager.raft.disk import has_state
from manager.raft.settings import RaftSettings
from manager.roles.quorum import raft_id_of
from overlay.driver import Overlay
from pyswarm.aio import Supervisor
from pyswarm.api.v1 import control_pb2, local_pb2
from pyswarm.daemon import machine
from pyswarm.daemon.leader import at_leader, data_path_port
from pyswarm.daemon.membership import MembershipFile, SwarmMembership
from pyswarm.daemon.roles import JOIN_SECONDS, RoleFollower, join_raft
from pyswarm.daemon.settings import Settings
from pyswarm.errors import (
    FailedPrecondition,
    InvalidArgument,
    Unavailable,
)
from pyswarm.model import (
    Availability,
    Cluster,
    ClusterSpec,
    ManagerStatus,
    Node,
    NodeDescription,
    NodeRole,
    NodeSpec,
    NodeState,
    NodeStatus,
)
from pyswarm.model.cluster import DEFAULT_POOLS, DEFAULT_SUBNET_BITS
from pyswarm.model.ids import ID_BYTES
from pyswarm.rpc import ChannelPool, Credentials
from pyswarm.wire import from_message

log = logging.getLogger(__name__)

LEAVE_SECONDS = 20.0
RAFT_ID_MOST = (1 << 63) - 1
ALREADY = (
    'This node is already part of a swarm. Use "pyswarm swarm leave" to leave this swarm and join '
    "another one."
)


class SwarmNode:
    """The node's life in and out of swarms. One operation at a time."""

    def __init__(self, settings: Settings, runtime: Containers, runtime_name: str) -> None:
        self.settings = settings
        self._runtime = runtime
        self.runtime_name = runtime_name
        self._file = MembershipFile(settings.state_directory)
        self._certificates = CertificateDirectory(settings.state_directory / "certificates")
        self._supervisor = Supervisor("node")
        self._keeper: Keeper | None = None
        self._follower: RoleFollower | None = None
        self._lock = asyncio.Lock()
        self._pool: ChannelPool | None = None
        self.membership: SwarmMembership | None = None
        self.agent: Agent | None = None
        self.manager: Manager | None = None
        self.problem = ""
        self.removed = False
        self.fatal = asyncio.Event()
        """Set when the process should end: its consensus failed, and a restart may mend it."""
        self._mtu_bytes = 0

    # ---- life of the process ----

    async def start(self) -> None:
        """Go on where the last process stopped."""
        self.membership = self._file.load()
        if self.membership is None:
            return
        credentials = self._certificates.load()
        if credentials is None:
            raise FailedPrecondition(
                f"{self.settings.state_directory} names a swarm, but its certificate is missing: "
                "restore the directory, or remove it and join again"
            )
        manager = credentials.identity.role is NodeRole.MANAGER
        if manager is not self.membership.manager:
            self._become(manager=manager)
        address = await machine.readvertised(
            self.membership.address, self.settings.advertise_address or self.membership.interface
        )
        if address != self.membership.address:
            log.warning("this node has moved from %s to %s", self.membership.address, address)
            self._become(address=address)
        await self._serve(credentials)
        if self.manager is not None and self._follower is not None:
            self._follower.keep_joined(self.manager)

    async def stop(self) -> None:
        """Stop serving; containers go on running."""
        await self._end_background()
        if self.agent is not None:
            await self.agent.stop()
        if self.manager is not None:
            await self.manager.stop()
        if self._pool is not None:
            await self._pool.close()

    async def _end_background(self) -> None:
        follower, self._follower = self._follower, None
        if follower is not None:
            await follower.close()
        await self._supervisor.close()
        self._supervisor = Supervisor("node")

    async def _serve(
        self, credentials: Credentials, first: tuple[Cluster, Node] | None = None
    ) -> None:
        assert self.membership is not None, "a node serves the swarm that it is in"
        keeper = Keeper(self._certificates, credentials, self.manager_addresses)
        self._keeper = keeper
        self._pool = ChannelPool(keeper.current)
        keeper.on_change(lambda fresh: self._reconnect())
        follower = self._follower = RoleFollower(self, keeper, self._pool, self._lock)
        self._supervisor.start(keeper.run(), "certificate")
        if self.membership.manager:
            await self._start_manager(keeper, first)
        else:
            # A crash may have come between the demotion and this.
            await self._wipe_manager()
        self._supervisor.start(follower.run(), "role")
        host, _ = machine.split_address(self.membership.address, 0)
        self._mtu_bytes = await asyncio.to_thread(machine.interface_mtu_bytes, host)
        overlay = Overlay(
            self.membership.node_id,
            self.settings.run_directory / "overlay",
            self.settings.state_directory / "overlay",
            underlay_address=host,
            vxlan_port=self.membership.vxlan_port,
        )
        self.agent = Agent(
            self.membership.node_id,
            runtime=self._runtime,
            overlay=overlay,
            state_directory=self.settings.state_directory,
            run_directory=self.settings.run_directory,
            describe=self.describe,
            underlay_address=host,
            channels=self._pool.get,
            managers=self.manager_addresses,
            on_managers=self._remember_managers,
            on_node=lambda node: follower.said(node.role),
            on_removed=self._was_removed,
        )
        await self.agent.start()

    async def _start_manager(self, keeper: Keeper, first: tuple[Cluster, Node] | None) -> None:
        assert self.membership is not None, "a manager is part of a swarm"
        assert self._pool is not None, "the pool is made before the manager"
        raft = RaftSettings()
        if first is not None:
            entries = first[0].spec.snapshot_interval_entries
            raft = replace(raft, snapshot_interval_entries=entries)
        elif not has_state(self.settings.state_directory / "manager" / "raft"):
            # Under an older id the others count on promises that nobody remembers here.
            self._become(manager=True, raft_id=secrets.randbelow(RAFT_ID_MOST) + 1)
        config = ManagerConfig(
            node_id=self.membership.node_id,
            cluster_id=self.membership.cluster_id,
            raft_id=self.membership.raft_id or raft_id_of(self.membership.node_id),
            address=self.membership.address,
            directory=self.settings.state_directory / "manager",
            certificates=self._certificates,
            raft=raft,
        )
        self.manager = Manager(config, keeper.current, self._pool, first)
        await self.manager.start()
        self._supervisor.start(self._watch_consensus(self.manager), "consensus")
        assert self._follower is not None, "it is made before the manager"
        self._follower.watch(self.manager)

    async def _watch_consensus(self, manager: Manager) -> None:
        await manager.raft.failed.wait()
        self.problem = f"the consensus of this manager has failed: {manager.raft.error}"
        self.fatal.set()

    async def begin_manager(self) -> None:
        """Start the manager that this node's certificate asks for."""
        assert self._keeper is not None, "a node of a swarm has a certificate"
        try:
            await self._start_manager(self._keeper, None)
        except BaseException:
            await self._stop_manager(transfer=False)
            raise

    async def end_manager(self) -> None:
        """Stop the manager, and forget the state that it had: the node is a worker."""
        self._remember_managers([a for a in self.manager_addresses() if a != self._own_address()])
        self._become(manager=False, raft_id=0)
        await self._stop_manager()
        await self._wipe_manager()

    async def _stop_manager(self, transfer: bool = True) -> None:
        manager, self.manager = self.manager, None
        if manager is not None:
            await manager.stop(transfer)

    async def _wipe_manager(self) -> None:
        directory = self.settings.state_directory / "manager"
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    # ---- what the node knows ----

    def describe(self) -> NodeDescription:
        """What the node says of itself."""
        return machine.describe(
            self.settings.hostname,
            self.runtime_name,
            self.settings.engine_labels,
            self._mtu_bytes,
        )

    def manager_addresses(self) -> list[str]:
        """The managers that this node knows, its own included where it is one."""
        if self.manager is not None:
            known = self.manager.manager_addresses()
            if known:
                return known
        return list(self.membership.managers) if self.membership else []

    def _remember_managers(self, addresses: list[str]) -> None:
        if self.membership and addresses and tuple(addresses) != self.membership.managers:
            self._become(managers=tuple(addresses))

    def _become(self, **changes: Any) -> None:
        """Change what the node remembers of its swarm."""
        assert self.membership is not None, "only a node of a swarm remembers one"
        self.membership = replace(self.membership, **changes)
        self._file.save(self.membership)

    def _reconnect(self) -> None:
        if self.agent is not None:
            self.agent.reconnect("this node has a new certificate")

    def _was_removed(self) -> None:
        self.removed = True
        self.problem = (
            "this node was removed from the swarm: use 'pyswarm swarm leave' to clean it up"
        )
        log.error(self.problem)

    def _require_outside(self) -> None:
        if self.membership is not None:
            raise FailedPrecondition(ALREADY)

    async def _advertised(self, wanted: str) -> str:
        text, port = machine.split_address(
            wanted or self.settings.advertise_address, self.settings.listen_port
        )
        # pyroute2's plain calls run a loop of their own, which this thread has already.
        return f"{await asyncio.to_thread(machine.own_address, text)}:{port}"

    # ---- init ----

    async def init(self, request: local_pb2.InitRequest) -> local_pb2.InitResponse:
        """A new swarm with this node as its first manager."""
        async with self._lock:
            self._require_outside()
            address = await self._advertised(request.advertise_address)
            spec = from_message(ClusterSpec, request.spec)
            view_of.check_cluster(spec)
            cluster, node, credentials = self._first_records(request, spec, address)
            await self._enter(
                SwarmMembership(
                    node_id=node.id,
                    cluster_id=cluster.id,
                    address=address,
                    manager=True,
                    vxlan_port=cluster.vxlan_port,
                    managers=(address,),
                    interface=machine.interface_of(request.advertise_address),
                ),
                credentials,
                (cluster, node),
            )
            return local_pb2.InitResponse(
                node_id=node.id,
                worker_token=cluster.root_ca.worker_token,
                manager_address=address,
            )

    def _first_records(
        self, request: local_pb2.InitRequest, spec: ClusterSpec, address: str
    ) -> tuple[Cluster, Node, Credentials]:
        now, cluster_id, node_id = time.time(), new_id(), new_id()
        tokens = (os.urandom(ID_BYTES), os.urandom(ID_BYTES))
        serial = int.from_bytes(secrets.token_bytes(x509.SERIAL_BYTES), "big") | 1
        root = new_authority(x509.new_key(), cluster_id, serial, tokens, now)
        key, own_serial = x509.new_key(), serial + 1
        certificate = x509.issue(
            root.certificate_pem,
            root.key_pem,
            x509.new_request(key),
            node_id=node_id,
            role=NodeRole.MANAGER,
            cluster_id=cluster_id,
            serial=own_serial,
            now=now,
            life_seconds=spec.certificate_life_seconds,
        )
        view_of.check_pools(request.address_pools, request.subnet_bits or DEFAULT_SUBNET_BITS)
        cluster = Cluster(
            id=cluster_id,
            spec=spec,
            root_ca=root,
            address_pools=tuple(request.address_pools) or DEFAULT_POOLS,
            subnet_bits=request.subnet_bits or DEFAULT_SUBNET_BITS,
            vxlan_port=request.vxlan_port or Cluster().vxlan_port,
        )
        node = Node(
            id=node_id,
            spec=NodeSpec(role=NodeRole.MANAGER, availability=_availability(request.availability)),
            role=NodeRole.MANAGER,
            description=NodeDescription(hostname=self.settings.hostname),
            status=NodeStatus(state=NodeState.UNKNOWN, address=address.rpartition(":")[0]),
            manager=ManagerStatus(raft_id=raft_id_of(node_id), address=address),
            certificate_serial=f"{own_serial:x}",
            certificates_end_at=now + spec.certificate_life_seconds,
        )
        return cluster, node, Credentials(certificate, key, root.certificate_pem)

    async def _enter(
        self,
        membership: SwarmMembership,
        credentials: Credentials,
        first: tuple[Cluster, Node] | None = None,
    ) -> None:
        """Become part of a swarm; a failure leaves the node outside, as it was."""
        self._certificates.store(credentials)
        self.membership = membership
        try:
            await self._serve(credentials, first)
        except BaseException:
            await self._abandon()
            raise
        self._file.save(self.membership)

    async def _abandon(self) -> None:
        agent, self.agent = self.agent, None
        if agent is not None:
            await agent.stop()
            await agent.wipe()
        await self._end_background()
        await self._stop_manager(transfer=False)
        if self._pool is not None:
            await self._pool.close()
            self._pool = None
        self.membership = None
        self._file.remove()
        self._certificates.remove()
        for name in ("manager", "worker", "overlay"):
            shutil.rmtree(self.settings.state_directory / name, ignore_errors=True)

    # ---- join ----

    async def join(self, request: local_pb2.JoinRequest) -> local_pb2.JoinResponse:
        """Become a node of an existing swarm, in the role that the token gives."""
        async with self._lock:
            self._require_outside()
            if not request.addresses:
                raise InvalidArgument("name a manager of the swarm, as HOST:PORT")
            port = self.settings.listen_port
            split = [machine.split_address(text, port) for text in request.addresses]
            addresses = [f"{host}:{number}" for host, number in split]
            address = await self._advertised(request.advertise_address)
            credentials = await ca_client.join(
                addresses,
                request.token,
                self.settings.hostname,
                _availability(request.availability),
                timeout_seconds=JOIN_SECONDS,
            )
            identity = credentials.identity
            membership = SwarmMembership(
                node_id=identity.node_id,
                cluster_id=identity.cluster_id,
                address=address,
                manager=identity.role == NodeRole.MANAGER,
                vxlan_port=await data_path_port(addresses, credentials),
                managers=tuple(addresses),
                interface=machine.interface_of(request.advertise_address),
            )
            await self._enter(membership, credentials)
            if membership.manager:
                try:
                    assert self.manager is not None, "it was started with the rest"
                    assert self._pool is not None, "it was made before the manager"
                    await join_raft(self._pool, addresses, self.manager)
                except BaseException:
                    await self._abandon()
                    raise
            return local_pb2.JoinResponse(node_id=membership.node_id, manager=membership.manager)

    # ---- leave ----

    async def leave(self, force: bool) -> None:
        """Stop being part of the swarm, and remove everything that came from it."""
        async with self._lock:
            if self.membership is None:
                raise FailedPrecondition("This node is not part of a swarm")
            if self.membership.manager and not force:
                raise FailedPrecondition(
                    "You are attempting to leave the swarm on a node that is participating as a "
                    "manager. Removing the last manager erases all current state of the swarm. "
                    "Use `--force` to ignore this message."
                )
            await self._say_goodbye()
            await self._abandon()

    async def _say_goodbye(self) -> None:
        if self.removed:
            return
        if self.manager is not None:
            others = [a for a in self.manager_addresses() if a != self._own_address()]
            if not others:
                return
            await self.manager.roles.hand_over()
        else:
            others = self.manager_addresses()
        if self.agent is not None:
            await self.agent.stop(goodbye=True)
        try:
            assert self._pool is not None, "a node of a swarm has a pool"
            request = control_pb2.RemoveSelfRequest()
            await at_leader(self._pool, others, "Leave", request, LEAVE_SECONDS)
        except Unavailable as error:
            log.warning("left without a word, since no manager answers: %s", error)

    def _own_address(self) -> str:
        return self.membership.address if self.membership else ""


def _availability(word: str) -> Availability:
    return Availability[word.upper()] if word else Availability.ACTIVE
