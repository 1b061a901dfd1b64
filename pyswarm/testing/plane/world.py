"""A swarm, its users, and everything that goes wrong; one seed is one history.

storm    faults of all kinds, a change each second
calm     no more faults: everything must come to rest within `CONVERGE_SECONDS`
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Any
from zlib import crc32

from manager.state import Transaction
from pyswarm.api.v1 import control_pb2, control_pb2_grpc
from pyswarm.daemon.leaving import put_down
from pyswarm.errors import DataLoss, FailedPrecondition, SwarmError
from pyswarm.model import (
    Cluster,
    ClusterSpec,
    ManagerStatus,
    Node,
    NodeSpec,
    NodeState,
)
from pyswarm.rpc import swarm_errors
from pyswarm.testing.plane.faults import USUAL, Faults
from pyswarm.testing.plane.logs import silence
from pyswarm.testing.plane.loop import State, Timeline, Violation
from pyswarm.testing.plane.network import CALM, Network
from pyswarm.testing.plane.observer import Observer
from pyswarm.testing.plane.process import CLUSTER_ID, Host, settings, substituted
from pyswarm.testing.plane.rest import unrest
from pyswarm.testing.plane.rpc import Channel
from pyswarm.testing.plane.workload import Users

CONVERGE_SECONDS = 150.0
FIRST = "m1"
"""The host on which the swarm is made."""
JOIN_SECONDS = 30.0


class World:
    """`run` plays one seed; raises `Violation`."""

    def __init__(self, seed: int, faults: Faults) -> None:
        self.faults = faults
        self.chance = random.Random(seed)
        self.timeline = Timeline()
        self.network = Network(self.timeline, self.chance)
        self.observer = Observer(self.timeline)
        self.observer.daemon_problem = self._daemon_problem
        self.network.on_leader = self.observer.leads
        self.hosts: dict[str, Host] = {}
        self.trace: list[str] = []
        self._raft = settings(self.chance)
        self._storm = False
        self._joined = 0
        self._damaged: set[str] = set()
        for number in range(1, faults.managers + 1):
            self._host(f"m{number}", manager=True)
        for number in range(1, faults.workers + 1):
            self._host(f"w{number}", manager=False)
        nodes = [host.node_id for host in self.hosts.values()]
        self.users = Users(
            self.timeline,
            self.network,
            self.observer,
            self.chance,
            self._addresses,
            nodes,
            faults.services,
            faults.lease_seconds,
        )

    def _host(self, name: str, *, manager: bool) -> Host:
        faults, chance = self.faults, self.chance
        host = self.hosts[name] = Host(
            name,
            self.timeline,
            self.network,
            self.observer,
            chance,
            manager=manager,
            raft=self._raft,
            rate=1.0 + chance.uniform(-faults.drift, faults.drift),
            wall_offset=chance.uniform(-faults.skew_seconds, faults.skew_seconds),
        )
        return host

    @property
    def managers(self) -> list[Host]:
        """The hosts that are managers now."""
        return [host for host in self.hosts.values() if host.is_manager and not host.left]

    def _addresses(self) -> list[str]:
        return [host.address for host in self.managers]

    def leader(self) -> Host | None:
        """The manager that leads, as it believes."""
        leading = [h for h in self.managers if _runs(h) and h.manager and h.manager.is_leading()]
        return max(leading, key=lambda host: host.manager.raft.term) if leading else None  # type: ignore[union-attr]

    def digest(self) -> int:
        """Two runs of one seed have the same."""
        entries = b"".join(data for data, _ in self.observer.entries.values())
        return crc32(f"{self.timeline.events} {self.timeline.now} {self.trace}".encode() + entries)

    def note(self, text: str) -> None:
        """Remember what happened, for whoever reads a failure."""
        self.trace.append(f"{self.timeline.now:9.3f} {text}")

    # ---- the whole story ----

    def run(self) -> None:
        """From the first boot to rest."""
        with silence(self.timeline), substituted(self.timeline, self.chance):
            try:
                self.found()
                self.storm()
                self.calm()
            finally:
                logging.disable(logging.CRITICAL)  # what is torn down complains

    def found(self) -> None:
        """Make the swarm: all nodes ready, all managers members, networks there."""
        first = self.hosts[FIRST]
        spec = ClusterSpec(task_history_limit=2)
        cluster = Cluster(id=CLUSTER_ID, spec=spec, subnet_bits=26)
        first.joined = True
        first.boot((cluster, self._record(first)))
        self._until(lambda: self.leader() is not None and self.observer.view.cluster, 10)
        for host in self.hosts.values():
            if host is not first:
                self.enter(host)
        self._until(self._all_ready, 60)
        self.users.loop.start(self.users.make_networks(), "networks")
        self._advance(1)

    def enter(self, host: Host) -> None:
        """A new node: its record, its daemon, and for a manager its place among them."""
        host.known_managers = self._addresses()
        self._register(host)
        self._boot(host)

    def _register(self, host: Host) -> None:
        """Have its record made, as the CA does; asked again until it is there."""
        if host.left or self.observer.view.get(Node, host.node_id) is not None:
            return
        leader = self.leader()
        if leader is not None and leader.manager is not None:
            work = leader.manager.store.update(lambda tx: _absent(tx, self._record(host)))
            leader.loop.start(_forgiving(work), f"register {host.name}")
        self.timeline.after(1.0, self._register, host)

    def _record(self, host: Host) -> Node:
        status = ManagerStatus(raft_id=host.raft_id, address=host.address)
        return Node(
            id=host.node_id,
            spec=NodeSpec(role=host.role),
            role=host.role,
            manager=status if host.name == FIRST else None,
        )

    async def _join(self, host: Host) -> None:
        """As the daemon does: ask at the managers until the leader has said yes."""
        others = [a for a in host.known_managers if a != host.address]
        target = others[0]
        while True:
            channel: Any = Channel(self.network, host, host.identity, target)
            stub = control_pb2_grpc.MembershipStub(channel)
            try:
                with swarm_errors(target):
                    request = control_pb2.JoinRaftRequest(
                        address=host.address, raft_id=host.raft_id
                    )
                    await stub.JoinRaft(request, timeout=10)
                host.joined = True
                return
            except SwarmError as error:
                hint = getattr(error, "leader_address", "")
                target = hint or self.chance.choice(others)
                await asyncio.sleep(0.2)

    def storm(self) -> None:
        """Faults and changes."""
        self._storm = True
        self.network.weather = self.faults.weather
        end = self.timeline.now + self.faults.seconds
        self._changes(end)
        for name in FAULTS:
            if getattr(self.faults, name):
                self._next(name, end)
        self.timeline.run(end)
        self._storm = False

    def _changes(self, end: float) -> None:
        def change() -> None:
            if self.timeline.now < end:
                self.users.begin()
                self.timeline.after(self.faults.change_every, change)

        self.timeline.after(self.faults.change_every, change)

    def _next(self, name: str, end: float) -> None:
        def strike() -> None:
            if self.timeline.now < end:
                FAULTS[name](self)
                self._next(name, end)

        self.timeline.after(self.chance.expovariate(1 / getattr(self.faults, name)), strike)

    def calm(self) -> None:
        """No more faults; everything comes to rest."""
        self.heal()
        self.users.loop.start(self.users.reactivate(), "reactivate")
        end = self.timeline.now + CONVERGE_SECONDS
        problem = "nothing was looked at"
        while problem:
            if self.timeline.now >= end:
                raise Violation(f"no rest {CONVERGE_SECONDS:g} s after the last fault: {problem}")
            self._advance(1)
            self._see_off_the_removed()
            self._reconnect_the_lost()
            problem = unrest(self.observer, self.hosts, self.leader())
        self.users.check()
        for host in self.managers:
            if host.manager is not None:
                self.observer.compare(host.name, host.manager.store)
        self._advance(0)

    def _see_off_the_removed(self) -> None:
        """A manager whose leaving was answered with a failure, and took effect after all."""
        for host in self.managers:
            if host.manager is not None and host.manager.raft.removed.is_set() and not host.leaving:
                host.loop.start(self._leave(host), "leave")
                host.leaving = True

    def _reconnect_the_lost(self) -> None:
        """All managers that a host knew have left while it was cut off: somebody must tell it where
        the new ones are, as `swarm reconnect` does."""
        for host in self.hosts.values():
            if not set(host.known_managers) & set(self._addresses()):
                host.known_managers = self._addresses()

    def heal(self) -> None:
        """End every fault."""
        self.note("heal")
        self.network.weather = CALM
        self.network.unblock(set(self.network.blocked))
        for host in self.hosts.values():
            host.loop.resume()
            host.slow = host.machine.slow = 1.0
            host.system.full = False
            self._boot(host)

    def _advance(self, seconds: float) -> None:
        self.timeline.run(self.timeline.now + seconds)

    def _until(self, condition: Callable[[], Any], seconds: float) -> None:
        end = self.timeline.now + seconds
        while not condition():
            if self.timeline.now >= end:
                raise Violation(f"the swarm was not made in {seconds:g} s")
            self._advance(0.1)

    def _all_ready(self) -> bool:
        view = self.observer.view
        ready = [n for n in view.list(Node) if n.status.state == NodeState.READY]
        voters = self.leader() and self.leader().manager.raft.membership.voters  # type: ignore[union-attr]
        return len(ready) == len(self.hosts) and len(voters or ()) == len(self.managers)

    def _daemon_problem(self, name: str, error: BaseException) -> bool:
        """A damaged disk may be refused. Then its manager leaves for good, and others may join."""
        if not isinstance(error, DataLoss) or name not in self._damaged:
            return False
        host = self.hosts[name]
        self.note(f"the disk of {name} is damaged")
        host.loop.start(self._leave(host), "leave")
        return True

    # ---- faults ----

    def _some_host(self) -> Host | None:
        up = [host for host in self.hosts.values() if _runs(host)]
        # Managers are few, and the interesting ones.
        pool = [host for host in up if host.is_manager] if self.chance.random() < 0.6 else up
        return self.chance.choice(pool) if pool else None

    def _partition(self) -> None:
        names = sorted(self.hosts)
        managers = [host.name for host in self.managers]
        kind = self.chance.choice(("halves", "one", "one way", "bridge"))
        pool = managers if self.chance.random() < 0.5 else names
        if kind == "bridge":
            # Everybody hears the bridge, and the two sides hear only it.
            bridge = self.chance.choice(managers)
            rest = [name for name in names if name != bridge]
            left = set(self.chance.sample(rest, len(rest) // 2))
            pairs = {(a, b) for a in rest for b in rest if (a in left) != (b in left)}
        else:
            some = {self.chance.choice(pool)}
            if kind == "halves":
                some = set(self.chance.sample(names, len(names) // 2))
            pairs = {(a, b) for a in names for b in names if a in some and b not in some}
            if kind != "one way":
                pairs |= {(b, a) for a, b in pairs}
        self.note(f"partition {kind}: {sorted(pairs)}")
        self.network.block(pairs)
        self._end(
            self.chance.uniform(0.5, self.faults.partition_seconds),
            lambda: self.network.unblock(pairs),
        )

    def _end(self, seconds: float, do: Callable[[], None]) -> None:
        self.timeline.after(seconds, lambda: do() if self._storm else None)

    def _pause(self) -> None:
        host = self._some_host()
        if host is not None:
            loop = host.loop
            self.note(f"pause {host.name}")
            loop.pause()
            self._end(self.chance.choice((0.3, 2.0, 8.0)) * self.chance.random(), loop.resume)

    def _kill(self) -> None:
        host = self._some_host()
        if host is not None:
            self.note(f"kill {host.name}")
            host.kill()
            self._end(self.chance.uniform(0.1, 6), lambda: self._boot(host))

    def _power_cut(self) -> None:
        hosts = [self._some_host()]
        if self.chance.random() < 0.2:
            hosts = [host for host in self.managers if _runs(host)]
        for host in hosts:
            if host is None:
                continue
            if host.is_manager and self.chance.random() < 0.7:
                host.on_write = partial(self._darken, host)
            else:
                self._darken(host)

    def _darken(self, host: Host) -> None:
        if not self._storm or not _runs(host):
            return
        # One at a time, since nobody could bring back two of three.
        corrupt = host.is_manager and not self._damaged and self.chance.random() < 0.5
        if corrupt:
            self._damaged.add(host.name)
        self.note(f"power cut {host.name}{', perhaps with damage' if corrupt else ''}")
        host.power_cut(corrupt=corrupt)
        self._end(self.chance.uniform(0.5, 10), lambda: self._boot(host))

    def _boot(self, host: Host) -> None:
        if not host.up and not host.left:
            self.note(f"boot {host.name}")
            loop = host.boot()
            # A manager that died before it was a member is told to join once more.
            if host.is_manager and not host.joined:
                loop.start(self._join(host), "join")
            if host.leaving:
                loop.start(self._leave(host), "leave")

    def _slow_disk(self) -> None:
        host = self._some_host()
        if host is not None:
            self.note(f"slow {host.name}")
            host.slow = self.chance.choice((10.0, 100.0, 500.0))
            host.machine.slow = 10.0
            self._end(self.chance.uniform(1, 10), lambda: _fast(host))

    def _full_disk(self) -> None:
        host = self.chance.choice(self.managers)
        self.note(f"full {host.name}")
        host.system.full = True

        def room() -> None:
            host.system.full = False

        self._end(self.chance.uniform(0.5, 8), room)

    def _clock(self) -> None:
        host = self._some_host()
        if host is not None:
            jump = self.chance.uniform(-2, 2)
            self.note(f"clock of {host.name} jumps by {jump:.1f}")
            host.wall_offset += jump
            host.loop.wall_offset += jump

    def _container(self) -> None:
        running = [
            (host, c)
            for host in self.hosts.values()
            for c in host.machine.containers.values()
            if c.runs
        ]
        if running:
            host, container = self.chance.choice(running)
            self.note(f"container {container.task_id} on {host.name} fails")
            host.machine.fail(container)

    def _members(self) -> None:
        """A new manager joins, or one that is not the leader leaves."""
        managers = self.managers
        if len(managers) <= 3 or self.chance.random() < 0.3:
            if len(managers) < 5:
                self._newcomer()
            return
        leader = self.leader()
        others = [h for h in managers if h is not leader and not h.leaving and _runs(h)]
        if others:
            host = self.chance.choice(others)
            self.note(f"{host.name} leaves")
            host.loop.start(self._leave(host), "leave")

    def _newcomer(self) -> None:
        self._joined += 1
        host = self._host(f"n{self._joined}", manager=True)
        self.note(f"{host.name} joins")
        self.enter(host)

    async def _leave(self, host: Host) -> None:
        host.leaving = True
        if host.agent is not None:
            await put_down(host.agent)
        while True:
            targets = [a for a in self._addresses() if a != host.address]
            channel: Any = Channel(self.network, host, host.identity, self.chance.choice(targets))
            try:
                if host.manager is not None:
                    await host.manager.roles.hand_over()
                with swarm_errors():
                    stub = control_pb2_grpc.MembershipStub(channel)
                    await stub.Leave(control_pb2.RemoveSelfRequest(), timeout=10)
                break
            except SwarmError as error:
                # One without whom there is no quorum does not leave.
                if isinstance(error, FailedPrecondition) and host.problem is None:
                    host.leaving = False
                    self.timeline.after(0.0, host.kill)
                    self.timeline.after(0.0, self._boot, host)
                    return
                await asyncio.sleep(0.2)
        self.note(f"{host.name} has left")
        host.left = True
        self.timeline.after(0.0, host.power_cut)
        self._damaged.discard(host.name)


def _runs(host: Host) -> bool:
    return host.loop.state is State.RUNS


def _fast(host: Host) -> None:
    host.slow = host.machine.slow = 1.0


def _absent(tx: Transaction, node: Node) -> None:
    if tx.get(Node, node.id) is None:
        tx.put(node)


async def _forgiving(work: Any) -> None:
    try:
        await work
    except SwarmError:
        return


FAULTS: dict[str, Callable[[World], None]] = {
    "partition": World._partition,
    "pause": World._pause,
    "kill": World._kill,
    "power_cut": World._power_cut,
    "slow_disk": World._slow_disk,
    "full_disk": World._full_disk,
    "clock": World._clock,
    "container": World._container,
    "members": World._members,
}


def run_seed(seed: int, faults: Faults = USUAL) -> World:
    """Play one seed; a failure says how to repeat it."""
    world = World(seed, faults)
    try:
        world.run()
    except Exception as error:
        told = "\n".join(world.trace[-25:])
        raise Violation(
            f"{error}\n{told}\nrepeat with: python -m pyswarm.testing.plane {seed} "
            f"--faults {faults.name} --seconds {faults.seconds:g}   "
            f"(at {world.timeline.now:.3f} s)"
        ) from error
    return world
