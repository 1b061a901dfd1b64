"""A host: power, a disk, containers, and a daemon that runs real managers and agents.

`substituted` puts the simulation in the place of clocks, chance, sockets and disks, in the modules
of production that use them, for as long as one simulation runs.
"""

from __future__ import annotations

import asyncio
import random
from asyncio.events import _get_running_loop, _set_running_loop
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock
from zlib import crc32

import agent.driver
import agent.link.driver
import agent.runner.driver
import manager.control.transport
import manager.driver
import manager.orchestrator.driver
import manager.planning.driver
import manager.raft.disk
import manager.raft.runtime
import manager.state.driver
import pyswarm.aio.backoff
import pyswarm.rpc.authorize
from agent.driver import Agent
from manager.driver import Manager, ManagerConfig
from manager.raft.settings import RaftSettings
from manager.state.driver import Store
from pyswarm.model import Cluster, EndpointSet, Node, NodeDescription, NodeRole, Resources
from pyswarm.model.identity import Identity
from pyswarm.rpc.errors import ErrorMapper
from pyswarm.testing.plane import disk
from pyswarm.testing.plane.loop import EPOCH, ProcessLoop, State, Timeline, tuned
from pyswarm.testing.plane.machine import MACHINES, Machine, Overlay, files_of, memory_of
from pyswarm.testing.plane.network import Network, RaftTransport, host_of
from pyswarm.testing.plane.observer import Observer
from pyswarm.testing.plane.rpc import Channel, Server

CLUSTER_ID = "simulated"
PORT = "2377"
WRITE_SECONDS = 0.001
HOSTS: dict[str, Host] = {}
"""The hosts of the simulation that runs."""


class Thread:
    """`ThreadPoolExecutor(1)`: what is given to it is done one after the other."""

    def __init__(self, workers: int = 1, name: str = "") -> None:
        self.free_at = 0.0

    def submit(self, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Do it some time."""
        return asyncio.get_running_loop().run_in_executor(self, func, *args)  # type: ignore[arg-type]

    def shutdown(self, wait: bool = True) -> None:
        """Nothing waits."""


@dataclass(eq=False, slots=True)
class Job:
    """Work of a thread that is not done."""

    thread: Thread
    func: Callable[..., Any]
    args: tuple[Any, ...]
    done: asyncio.Future[Any]
    begins: float


class Cryptor:
    """Seals nothing, but notices a record at a wrong place."""

    def encrypt(self, data: bytes, aad: bytes) -> bytes:
        """Add a digest of the place."""
        return crc32(aad).to_bytes(4, "big") + data

    def decrypt(self, data: bytes, aad: bytes) -> bytes:
        """Check it."""
        if data[:4] != crc32(aad).to_bytes(4, "big"):
            raise ValueError("this record belongs elsewhere")
        return data[4:]


class Certificates:
    """The part of `CertificateDirectory` that a manager uses."""

    def cryptor(self) -> Cryptor:
        """A new one."""
        return Cryptor()


class Pool:
    """`ChannelPool` of one process."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._open: dict[str, Channel] = {}

    def get(self, address: str, expect: str = "") -> Channel:
        """A channel to "host:port"."""
        del expect
        found = self._open.get(address)
        if found is None:
            host = self._host
            found = self._open[address] = Channel(host.network, host, host.identity, address)
        return found

    async def close(self) -> None:
        """Nothing is kept open."""


class Host:
    """One machine of the swarm. `address` is where its manager is, if it is one."""

    def __init__(
        self,
        name: str,
        timeline: Timeline,
        network: Network,
        observer: Observer,
        chance: random.Random,
        *,
        manager: bool,
        raft: RaftSettings,
        rate: float = 1.0,
        wall_offset: float = 0.0,
    ) -> None:
        self.name = name
        self.network = network
        self.timeline = timeline
        self.observer = observer
        self.chance = chance
        self.node_id = f"node-{name}"
        self.address = f"{name}:{PORT}"
        self.raft_id = crc32(name.encode())
        self.is_manager = manager
        self.role = NodeRole.MANAGER if manager else NodeRole.WORKER
        self.known_managers: list[str] = []
        self.rate, self.wall_offset = rate, wall_offset
        self.raft = raft
        self.slow = 1.0
        self.system = disk.FileSystem(chance)
        self.machine = Machine(
            name,
            chance,
            timeline.after,
            observer.container_started,
            observer.container_ended,
            self._signalled,
        )
        self.overlay = Overlay(self._show)
        self.problem: BaseException | None = None
        self.manager: Manager | None = None
        self.agent: Agent | None = None
        self.peers: RaftTransport | None = None
        self.servers: dict[str, Server] = {}
        self.loop = ProcessLoop(timeline)  # type: ignore[abstract]
        self.loop.state = State.DEAD
        self.joined = self.leaving = self.left = False
        self.on_write: Callable[[], None] | None = None
        """Called once, when the next write begins."""
        self._jobs: dict[Job, None] = {}
        self._past: list[ProcessLoop] = []
        HOSTS[name] = self
        MACHINES[name] = self.machine
        disk.Path.machines[name] = self.system

    @property
    def identity(self) -> Identity:
        """What its certificate says."""
        return Identity(
            node_id=self.node_id, role=self.role, cluster_id=CLUSTER_ID, serial=self.name
        )

    @property
    def up(self) -> bool:
        """Whether its daemon lives, be it paused."""
        return self.loop.state is not State.DEAD

    # ---- power ----

    def boot(self, first: tuple[Cluster, Node] | None = None) -> ProcessLoop:
        """Start the daemon."""
        assert not self.up, f"{self.name} is up"
        begin = 1000 * self.chance.random()
        loop = ProcessLoop(self.timeline, rate=self.rate, begin=begin)  # type: ignore[abstract]
        loop.wall_offset = self.wall_offset + self.timeline.now - loop.time()
        loop.executor, loop.host = self._execute, self
        self.loop = loop
        self.problem = None
        self.servers, self.peers, self.manager, self.agent = {}, None, None, None
        self.network.processes[self.name] = self
        self.network.dark.discard(self.name)
        self.timeline.at(self.timeline.now, self._begin, first, loop=loop)
        return loop

    def _begin(self, first: tuple[Cluster, Node] | None) -> None:
        self.loop.start(self._serve(first), "daemon")

    async def _serve(self, first: tuple[Cluster, Node] | None) -> None:
        pool: Any = Pool(self)
        directory: Any = disk.Path("/", self.name)
        try:
            if self.is_manager:
                config = ManagerConfig(
                    node_id=self.node_id,
                    cluster_id=CLUSTER_ID,
                    raft_id=self.raft_id,
                    address=self.address,
                    directory=directory,
                    certificates=Certificates(),  # type: ignore[arg-type]
                    raft=self.raft,
                )
                self.manager = Manager(config, lambda: None, pool, first)  # type: ignore[arg-type,return-value]
                await self.manager.start()
            if self.leaving:
                return
            self.agent = Agent(
                self.node_id,
                runtime=self.machine,
                overlay=self.overlay,
                state_directory=directory,
                run_directory=directory,
                describe=self.describe,
                underlay_address=self.name,
                channels=pool.get,
                managers=self.managers,
                on_managers=self._remember,
            )
            await self.agent.start()
        except Exception as error:
            self.problem = error
            self.observer.daemon_failed(self.name, error)

    def describe(self) -> NodeDescription:
        """4 CPUs and 4 GiB."""
        resources = Resources(nano_cpus=4 * 10**9, memory_bytes=4 << 30)
        return NodeDescription(hostname=self.name, resources=resources)

    def managers(self) -> list[str]:
        """The addresses of the managers that it knows."""
        if self.manager is not None:
            known = self.manager.manager_addresses()
            if known:
                return known
        return self.known_managers

    def _remember(self, addresses: list[str]) -> None:
        self.known_managers = addresses

    def kill(self) -> None:
        """SIGKILL for the daemon; containers and the page cache stay. A write may just be done."""
        for job in self._under_way():
            if self.chance.random() < 0.5:
                self._break_off(job)
        self._end()
        self.system.close_all()

    def power_cut(self, *, corrupt: bool = False) -> None:
        """Containers, memory, and what was not synced are gone."""
        for job in self._under_way():
            if self.chance.random() < 0.7:
                self.system.syncs_left = self.chance.randrange(3)
                self._break_off(job)
        self._end()
        self.network.dark.add(self.name)
        self.system.power_cut(corrupt=corrupt)
        self.machine.power_cut()
        self.overlay = Overlay(self._show)

    def _show(self, sets: Sequence[EndpointSet]) -> None:
        self.observer.drains.applied(self.node_id, sets)

    def _signalled(self, task_id: str) -> None:
        """A container is asked to end: by the managers' wish, or since the agent knows better."""
        runner = self.agent._runners.get(task_id) if self.agent is not None else None
        if runner is not None and not runner.machine.wanted:
            observer = self.observer
            observer.drains.signalled(task_id, self.timeline.now, observer.fail)

    def _break_off(self, job: Job) -> None:
        """Do the work of a process that is about to end, as far as the disk lets it."""
        _set_running_loop(self.loop)
        with suppress(Exception, disk.PowerCut):
            job.func(*job.args)
        _set_running_loop(None)

    def bury(self) -> None:
        """The simulation is over."""
        if self.up:
            self._end()
        for loop in self._past:
            loop.bury()
        self._past.clear()

    def _under_way(self) -> list[Job]:
        """The work that each thread has begun."""
        first: dict[Thread, Job] = {}
        for job in self._jobs:
            if job.begins <= self.timeline.now:
                first.setdefault(job.thread, job)
        return list(first.values())

    def _end(self) -> None:
        self.on_write = None
        self.loop.kill()
        self._past.append(self.loop)
        self._jobs.clear()
        self.network.processes.pop(self.name, None)
        self.observer.daemon_ended(self.name)

    # ---- threads ----

    def _execute(
        self, loop: ProcessLoop, thread: Thread | None, func: Callable[..., Any], args: Any
    ) -> asyncio.Future[Any]:
        done = loop.create_future()
        now = self.timeline.now
        if thread is None:
            self.timeline.at(
                now + 0.0001, self._finish, Job(Thread(), func, args, done, now), loop=loop
            )
            return done
        job = Job(thread, func, args, done, max(now, thread.free_at))
        thread.free_at = job.begins + WRITE_SECONDS * self.slow * (0.5 + self.chance.random())
        self._jobs[job] = None
        if self.on_write is not None:
            callback, self.on_write = self.on_write, None
            self.timeline.at(job.begins, callback)
        self.timeline.at(thread.free_at, self._finish, job, loop=loop)
        return done

    def _finish(self, job: Job) -> None:
        self._jobs.pop(job, None)
        if job.done.cancelled():
            return
        try:
            result = job.func(*job.args)
        except Exception as error:
            job.done.set_exception(error)
        else:
            job.done.set_result(result)


# ---- in the place of production ----


def wall() -> float:
    """The wall clock of the process that runs now."""
    return current_host().loop.wall()


class Clock:
    """`time` as the process sees it that runs now."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def time(self) -> float:
        """Its wall clock."""
        loop = _get_running_loop()
        return loop.wall() if isinstance(loop, ProcessLoop) else EPOCH + self._timeline.now

    def monotonic(self) -> float:
        """Its monotonic clock."""
        loop = _get_running_loop()
        return loop.time() if loop is not None else self._timeline.now


class Secrets:
    """`secrets` and `os.urandom` that a seed repeats."""

    def __init__(self, chance: random.Random) -> None:
        self.token_bytes = self.urandom = chance.randbytes
        self.randbits = chance.getrandbits


class Collector:
    """`gc`, which must not freeze a whole test run."""

    def freeze(self) -> None:
        """Nothing."""

    enable = disable = freeze


class ObservedStore(Store):
    """A manager's store; the observer sees each change that it applies."""

    def __init__(self) -> None:
        super().__init__(clock=wall)
        self._host = current_host()
        self._seen = self.watch()

    def apply(self, index: int, data: bytes) -> None:
        """Take an entry, and show what it did."""
        super().apply(index, data)
        news = self._seen.get_nowait()
        self._host.observer.applied(self._host.name, index, data, news[0] if news else None, self)

    def restore(self, index: int, data: bytes) -> None:
        """Take a snapshot, and show it."""
        super().restore(index, data)
        self._seen.close()
        self._seen = self.watch()
        self._host.observer.restored(self._host.name, index, self)


def current_host() -> Host:
    """The host whose process runs now."""
    loop = _get_running_loop()
    assert isinstance(loop, ProcessLoop), "no process runs"
    host: Host = loop.host
    return host


def _system() -> disk.FileSystem:
    return current_host().system


def _mutual_server(address: str, credentials: Any, authorizer: Any) -> Any:
    host = HOSTS[host_of(address)]
    server = host.servers[PORT] = Server([ErrorMapper(), authorizer])
    return mock.Mock(server=server, spec=["server"])


def _bootstrap_server(address: str, credentials: Any) -> Any:
    return mock.Mock(server=Server([]), spec=["server"])


def _peer_transport(*, address: str, connect: Any, authorize: Any) -> Any:
    host = HOSTS[host_of(address)]
    transport = RaftTransport(host.network, host, host.node_id)
    return transport


@contextmanager
def substituted(timeline: Timeline, chance: random.Random) -> Iterator[None]:
    """Production as it is, but for clocks, chance, sockets, threads and disks."""
    clock, secrets = Clock(timeline), Secrets(chance)
    operating_system = disk.Os(_system)
    places: list[tuple[Any, str, Any]] = [
        (manager.driver, "mutual_server", _mutual_server),
        (manager.driver, "bootstrap_server", _bootstrap_server),
        (manager.driver, "PeerTransport", _peer_transport),
        (manager.driver, "Store", ObservedStore),
        (manager.driver, "time", clock),
        (manager.driver, "secrets", secrets),
        (manager.driver, "os", secrets),
        (manager.raft.runtime, "ThreadPoolExecutor", Thread),
        (manager.raft.runtime, "random", chance),
        (manager.raft.runtime, "gc", Collector()),
        (manager.raft.disk, "os", operating_system),
        (manager.raft.disk, "fcntl", operating_system),
        (manager.raft.disk, "open", lambda *args, **more: _system().open_file(*args, **more)),
        (manager.state.driver, "secrets", secrets),
        (manager.state.driver, "gc", Collector()),
        (manager.state.driver, "time", clock),
        (manager.planning.driver, "time", clock),
        (manager.orchestrator.driver, "secrets", secrets),
        (manager.control.transport, "time", clock),
        (agent.driver, "TaskFiles", files_of),
        (agent.driver, "WorkerState", memory_of),
        (agent.link.driver, "random", chance),
        (agent.driver, "time", clock),
        (agent.link.driver, "time", clock),
        (agent.runner.driver, "time", clock),
        (pyswarm.aio.backoff, "random", chance),
        (pyswarm.rpc.authorize, "peer_identity", lambda context: context.identity),
    ]
    with ExitStack() as stack:
        stack.enter_context(tuned())
        for module, name, stand_in in places:
            stack.enter_context(mock.patch.object(module, name, stand_in, create=name == "open"))
        try:
            yield
        finally:
            for host in HOSTS.values():
                host.bury()
            HOSTS.clear()
            MACHINES.clear()
            disk.Path.machines.clear()


def settings(chance: random.Random, **more: Any) -> RaftSettings:
    """Small figures, so that snapshots and full segments come often."""
    return replace(
        RaftSettings(),
        snapshot_interval_entries=chance.choice((60, 150, 400)),
        entries_for_slow_followers=chance.choice((5, 50)),
        segment_bytes=chance.choice((8 << 10, 64 << 10)),
        **more,
    )
