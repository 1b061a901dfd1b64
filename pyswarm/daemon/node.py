"""This machine's part in a swarm: joins, serves, remembers, leaves.

Node ── swarm.json, certificates ── survives restarts
  ├── Agent    always, once in a swarm
  └── Manager  when the certificate says so
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
from dataclasses import replace
from typing import Any

import grpc.aio

import certs.client as ca_client
from agent.driver import Agent
from agent.executor.containers import Containers
from agent.images.store import ImageStore
from certs.disk import CertificateDirectory
from certs.driver import Keeper
from certs.keyring import NO_KEYS, KeyRing
from certs.unlock import Lock, Locked, parse_unlock_key
from manager.control import view_of
from manager.driver import Manager, ManagerConfig
from manager.raft.disk import has_state
from manager.raft.settings import RaftSettings
from manager.roles.quorum import raft_id_of
from overlay.driver import Overlay
from pyswarm.aio import Supervisor
from pyswarm.api.v1 import local_pb2
from pyswarm.crashpoints import reach
from pyswarm.daemon import lock, machine
from pyswarm.daemon.founding import availability_of, first_records
from pyswarm.daemon.leader import learn
from pyswarm.daemon.leaving import check_leave, may_leave, put_down, say_goodbye
from pyswarm.daemon.membership import MembershipFile, SwarmMembership
from pyswarm.daemon.moving import watch_address
from pyswarm.daemon.roles import JOIN_SECONDS, RoleFollower, join_raft
from pyswarm.daemon.settings import Settings
from pyswarm.errors import FailedPrecondition, InvalidArgument
from pyswarm.model import Cluster, ClusterSpec, Node, NodeDescription, NodeRole
from pyswarm.rpc import ChannelPool, Credentials
from pyswarm.wire import from_message

log = logging.getLogger(__name__)

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
        self._locking: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._pool: ChannelPool | None = None
        self.membership: SwarmMembership | None = None
        self.agent: Agent | None = None
        self.images: ImageStore | None = None
        self.manager: Manager | None = None
        self.problem = ""
        self.removed = False
        self.locked = False
        """Whether this manager waits for the unlock key, and does nothing else."""
        self.fatal = asyncio.Event()
        """Set when the process should end: its consensus failed, and a restart may mend it."""
        self._mtu_bytes = 0

    # ---- life of the process ----

    async def start(self) -> None:
        """Go on where the last process stopped."""
        self.membership = self._file.load()
        if self.membership is None:
            return
        if self.membership.passing:
            log.warning("the last process died while this node left: it is taken out now")
            self.agent = self._new_agent()
            await self._abandon()
            return
        try:
            credentials = self._certificates.load()
        except Locked as error:
            self.locked = True
            log.warning(error.message)
            return
        if credentials is None:
            raise FailedPrecondition(
                f"{self.settings.state_directory} names a swarm, but its certificate is missing: "
                "restore the directory, or remove it and join again"
            )
        await self._go_on(credentials)

    async def _go_on(self, credentials: Credentials) -> None:
        assert self.membership is not None, "a node goes on in the swarm that it is in"
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

    async def unlock(self, key: str) -> None:
        """Open a locked manager's keys and go on; `key` is what the user typed."""
        async with self._lock:
            if not self.locked:
                raise FailedPrecondition(lock.NOT_LOCKED)
            credentials = self._certificates.load(parse_unlock_key(key))
            assert credentials is not None, "a locked manager has its file"
            self.locked = False
            try:
                await self._go_on(credentials)
            except BaseException as error:
                # Half of it may run by now. The process ends, as it does where a start fails.
                self.problem = f"the unlocked manager could not start: {error}"
                self.fatal.set()
                raise

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
        self._follower = RoleFollower(self, keeper, self._pool, self._lock)
        self._supervisor.start(keeper.run(), "certificate")
        if self.membership.manager:
            await self._start_manager(keeper, first)
        else:
            # A crash may have come between the demotion and this.
            await self._wipe_manager()
        self._supervisor.start(self._follower.run(), "role")
        self._supervisor.start(watch_address(self), "address")
        host, _ = machine.split_address(self.membership.address, 0)
        self._mtu_bytes = await asyncio.to_thread(machine.interface_mtu_bytes, host)
        self.agent = self._new_agent()
        await self.agent.start()

    def _new_agent(self) -> Agent:
        assert self.membership is not None, "an agent belongs to a swarm"
        host, _ = machine.split_address(self.membership.address, 0)
        overlay = Overlay(
            self.membership.node_id,
            self.settings.run_directory / "overlay",
            self.settings.state_directory / "overlay",
            underlay_address=host,
            vxlan_port=self.membership.vxlan_port,
        )
        return Agent(
            self.membership.node_id,
            runtime=self._runtime,
            overlay=overlay,
            state_directory=self.settings.state_directory,
            run_directory=self.settings.run_directory,
            describe=self.describe,
            underlay_address=host,
            channels=self._channel,
            managers=self.manager_addresses,
            on_managers=self._remember_managers,
            on_node=self._heard_of_itself,
            on_roots=self._heard_of_roots,
            on_removed=self._was_removed,
            images=self.images,
        )

    def _heard_of_itself(self, node: Node) -> None:
        if self._follower is not None:
            self._follower.said(node.role)

    def _heard_of_roots(self, roots_pem: bytes, within_seconds: float) -> None:
        if self._keeper is not None:
            self._keeper.trust(roots_pem, within_seconds)

    def _channel(self, address: str) -> grpc.aio.Channel:
        assert self._pool is not None, "a session is opened by a node that serves"
        return self._pool.get(address)

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
            insecure_registries=self.settings.insecure_registries,
        )
        self.manager = Manager(config, keeper.current, self._pool, first)
        await self.manager.start()
        keeper.issue_alone = self.manager.issue_alone
        self._supervisor.start(self._watch_consensus(self.manager), "consensus")
        work = lock.follow(self.manager, self._certificates, keeper)
        self._locking = self._supervisor.start(work, "lock")
        assert self._follower is not None, "it is made before the manager"
        self._follower.watch(self.manager)

    async def _watch_consensus(self, manager: Manager) -> None:
        await manager.raft.failed.wait()
        self.problem = f"the consensus of this manager has failed: {manager.raft.error}"
        self.fatal.set()

    async def begin_manager(self) -> None:
        """Start the manager that this node's certificate asks for."""
        assert self._keeper is not None, "a node of a swarm has a certificate"
        _, sealed_with = await learn(self.manager_addresses(), self._keeper.current())
        if lock.is_news(sealed_with, self._certificates.lock):
            self._certificates.relock(sealed_with)
            self._keeper.demand()  # the key that it has was a worker's, in the clear
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
        if self._locking is not None:
            self._locking.cancel()
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
            self._keeper.current() if self._keeper is not None else None,
            self.settings.generic_resources,
        )

    @property
    def certificate_problem(self) -> str:
        """Why the node's certificate is not valid or was not renewed; empty where all is well."""
        return self._keeper.trouble() if self._keeper is not None else ""

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
            self.agent.reconnect("this node has a new certificate or new roots")

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
            cluster, node, credentials = await first_records(
                request, spec, self.settings.hostname, address
            )
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
                lock.lock_of(cluster),
                (cluster, node),
            )
            return local_pb2.InitResponse(
                node_id=node.id,
                worker_token=cluster.root_ca.worker_token,
                manager_address=address,
            )

    async def _enter(
        self,
        membership: SwarmMembership,
        credentials: Credentials,
        sealed_with: Lock,
        first: tuple[Cluster, Node] | None = None,
        ring: KeyRing = NO_KEYS,
    ) -> None:
        """Become part of a swarm; a failure leaves the node outside, as it was.

        `ring` has the data keys of a state that is on disk already.
        """
        self._certificates.create(credentials, sealed_with, ring)
        reach("join.credentials-stored")
        # Who joins goes on after a crash, since the managers know him. Who founds a swarm does not:
        # its first records would be lost, and nobody knows of it.
        self.membership = replace(membership, passing=first is not None)
        self._file.save(self.membership)
        reach("join.remembered")
        try:
            await self._serve(credentials, first)
        except BaseException:
            await self._abandon()
            raise
        reach("join.serving")
        if first is not None:
            self._become(passing=False)

    async def _abandon(self) -> None:
        if self.locked:
            self.agent = self._new_agent()  # for what it has left here when it last worked
        agent, self.agent = self.agent, None
        if agent is not None:
            await agent.stop()
            await agent.wipe()
            reach("leave.wiped")
        await self._end_background()
        await self._stop_manager(transfer=False)
        if self._pool is not None:
            await self._pool.close()
            self._pool = None
        self._keeper = None
        self.locked = self.removed = False
        self.problem = ""
        self._certificates.remove()
        reach("leave.disarmed")
        for name in ("manager", "worker", "overlay"):
            shutil.rmtree(self.settings.state_directory / name, ignore_errors=True)
        reach("leave.emptied")
        # Last, since it is by this file that a crash in the middle is known.
        self.membership = None
        self._file.remove()

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
                availability_of(request.availability),
                timeout_seconds=JOIN_SECONDS,
            )
            reach("join.certified")
            identity = credentials.identity
            vxlan_port, sealed_with = await learn(addresses, credentials)
            membership = SwarmMembership(
                node_id=identity.node_id,
                cluster_id=identity.cluster_id,
                address=address,
                manager=identity.role == NodeRole.MANAGER,
                vxlan_port=vxlan_port,
                managers=tuple(addresses),
                interface=machine.interface_of(request.advertise_address),
            )
            await self._enter(membership, credentials, sealed_with)
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
            manager = self.membership.manager and not self.removed
            check_leave(manager=manager, locked=self.locked, force=force)
            await self._say_goodbye()
            self._become(passing=True)
            reach("leave.said-goodbye")
            await self._abandon()

    async def _say_goodbye(self) -> None:
        if self.removed or self.locked:
            return
        assert self._pool is not None, "a node of a swarm has a pool"
        if self.manager is not None:
            others = [a for a in self.manager_addresses() if a != self._own_address()]
            if not others:
                return
            await self.manager.roles.hand_over()
            await may_leave(self._pool, others)
        else:
            others = self.manager_addresses()
        if self.agent is not None:
            await put_down(self.agent)
        await say_goodbye(self._pool, others)

    def _own_address(self) -> str:
        return self.membership.address if self.membership else ""
