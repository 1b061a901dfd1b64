"""The overlay of one node, as the agent drives it.

All kernel work happens in one worker thread under one lock: a call changes what is wished for,
then a pass brings everything to it. A call that is cancelled still ends its pass.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Final, TypeVar

from overlay import netlink
from overlay.desired import (
    Attached,
    Wish,
    choose_local_subnet,
    free_local_address,
    legs_of,
    needs_local,
)
from overlay.disk import Memory, MemoryFile
from overlay.ports import PublishedPort, ingress_ports
from overlay.reconcile.driver import HOST, Outcome, Reconciler
from overlay.runtime import Kernel
from overlay.server import NameServer, make_sockets
from pyswarm.aio import Supervisor
from pyswarm.errors import AlreadyExists, InvalidArgument, Unavailable
from pyswarm.model import EndpointSet, NetworkAttachment, PortConfig

log = logging.getLogger(__name__)

KNOWN_SECONDS: Final = 20.0
"""How long `attach` waits for the managers to name a network."""
FLUSH_SECONDS: Final = 3.0
FLUSH_POLL_SECONDS: Final = 0.02
RETRY_SECONDS: Final = 5.0
"""Between tries to get a port that another program holds, or a network that failed."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyResult:
    """`versions` by network id, a sentence for each of the `problems`, and those of them that
    concern a published port by its number."""

    versions: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    ports: Mapping[int, str] = field(default_factory=dict)


class Overlay:
    """Networks, names and ports of this node's containers. Namespaces are kept as files below
    `run_directory`, what is remembered below `state_directory`; `underlay_address` is the node's
    address on the wire; `nameservers` None follows the host's /etc/resolv.conf."""

    def __init__(
        self,
        node_id: str,
        run_directory: Path,
        state_directory: Path,
        *,
        underlay_address: str,
        vxlan_port: int = 4789,
        nameservers: Sequence[str] | None = None,
    ) -> None:
        self._file = MemoryFile(state_directory)
        self._kernel = Kernel(run_directory, vxlan_port)
        self._underlay = underlay_address
        self._reconciler = Reconciler(
            self._kernel,
            node_id=node_id,
            underlay=underlay_address,
            heads={},
            remember=self._save,
        )
        self._names = NameServer(nameservers)
        self._sets: Mapping[str, EndpointSet] = {}
        self._told = False
        self._attached: dict[str, Attached] = {}
        self._dead: set[str] = set()
        self._closed: set[str] = set()
        self._ip_forward = ""
        self._firewall: list[str] = []
        self._lock = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._worker: ThreadPoolExecutor | None = None
        self._supervisor = Supervisor("overlay")
        self._unsettled = False

    # ---- life ----

    async def start(self) -> None:
        """Take up what the kernel still has from before, and answer names again as soon as the
        networks are known; raises SwarmError where this node cannot have an overlay."""
        self._worker = ThreadPoolExecutor(1, "overlay")
        async with self._lock:
            try:
                adopted = await self._in_worker(self._adopt)
                for task_id, sockets in adopted.items():
                    await self._serve(self._attached[task_id], sockets)
                await self._pass()
            except BaseException:
                await self._shut()
                raise
        self._supervisor.start(self._retry(), "retry")

    async def stop(self) -> None:
        """Stop answering names; the kernel goes on without us."""
        await self._supervisor.close()
        async with self._lock:
            await self._shut()

    async def destroy(self) -> None:
        """Remove everything that the overlay made on this node, and stop."""
        await self._supervisor.close()
        async with self._lock:
            await self._names.close()
            await self._in_worker(self._remove_everything)
            await self._shut()

    async def _shut(self) -> None:
        await self._names.close()
        if self._worker:
            await self._in_worker(self._kernel.close)
            self._worker.shutdown()
            self._worker = None

    # ---- what the agent asks for ----

    async def attach(
        self,
        task_id: str,
        attachments: Sequence[NetworkAttachment],
        *,
        host_ports: Sequence[PortConfig] = (),
        sysctls: Mapping[str, str] | None = None,
        nameservers: Sequence[str] = (),
    ) -> str:
        """Make the task's network namespace, join its networks, publish its host-mode ports.

        Names outside the swarm are asked at `nameservers`, or at the host's. Answers the
        namespace's path; the same again if the task has one. Waits for networks that
        are not known yet. Raises AlreadyExists for a port that is taken, Unavailable else.
        """
        for name in sysctls or {}:
            if not name.startswith("net.") or ".." in name or "/" in name:
                raise InvalidArgument(f"the sysctl {name} is not one of a network: use net.*")
        await self._known([a.network_id for a in attachments])
        async with self._lock:
            path = str(self._kernel.container_path(task_id))
            if task_id not in self._attached:
                await self._attach(
                    task_id, attachments, host_ports, sysctls or {}, tuple(nameservers)
                )
            return path

    async def detach(self, task_id: str) -> None:
        """Remove the task's namespace and everything that led to it; repeatable."""
        async with self._lock:
            await self._names.remove(task_id)
            self._attached.pop(task_id, None)
            self._dead.add(task_id)
            try:
                await self._pass()
            finally:
                await self._in_worker(lambda: self._kernel.remove_container(task_id))
                await self._in_worker(self._save)

    async def apply(self, sets: Sequence[EndpointSet]) -> ApplyResult:
        """Make kernel and names show exactly these networks; repeatable.

        A network that could not be changed has no version in the answer, but a problem, and does
        not keep the others from theirs. It is tried again by itself and by the next call.
        """
        async with self._lock:
            self._sets = {endpoints.network_id: endpoints for endpoints in sets}
            self._told = True
            outcome = await self._pass()
        async with self._changed:
            self._changed.notify_all()
        taken = {port.number: sentence for port, sentence in outcome.taken.items()}
        return ApplyResult(
            versions={
                key: endpoints.version
                for key, endpoints in self._sets.items()
                if key not in outcome.failed and not (endpoints.ingress and HOST in outcome.failed)
            },
            problems=(
                *self._firewall,
                *outcome.taken.values(),
                *(error.message for error in outcome.failed.values()),
            ),
            ports=taken,
        )

    async def flush(self, task_id: str) -> None:
        """Until the last answers of a task that has ended in order have arrived: its connections
        go with its namespace. `FLUSH_SECONDS` at most."""
        over = asyncio.get_running_loop().time() + FLUSH_SECONDS
        while task_id in self._attached and asyncio.get_running_loop().time() < over:
            try:
                if not await self._in_worker(lambda: self._kernel.is_sending(task_id)):
                    return
            except OSError:
                return  # it is gone already
            await asyncio.sleep(FLUSH_POLL_SECONDS)

    async def close_ports(self, task_id: str) -> None:
        """A task of this node is about to be stopped: its host-mode ports take no new connection,
        and those that are there go on."""
        async with self._lock:
            self._closed.add(task_id)
            await self._pass()

    async def mark_dead(self, task_id: str) -> None:
        """A task of this node has just ended: take it out of virtual addresses, ports and names
        here at once, before the managers know."""
        async with self._lock:
            self._dead.add(task_id)
            await self._pass()

    def attached(self) -> Collection[str]:
        """The tasks that have a namespace."""
        return tuple(sorted(self._attached))

    # ---- inside ----

    async def _known(self, network_ids: Sequence[str]) -> None:
        def ready() -> bool:
            named = all(key in self._sets for key in network_ids)
            return named and (not network_ids or self._reconciler.knows_node(self._sets))

        try:
            async with asyncio.timeout(KNOWN_SECONDS), self._changed:
                await self._changed.wait_for(ready)
        except TimeoutError:
            lost = ", ".join(key for key in network_ids if key not in self._sets) or "this node"
            raise Unavailable(
                f"the managers have not said yet what {lost} looks like: the task waits"
            ) from None

    async def _attach(
        self,
        task_id: str,
        attachments: Sequence[NetworkAttachment],
        host_ports: Sequence[PortConfig],
        sysctls: Mapping[str, str],
        nameservers: tuple[str, ...],
    ) -> None:
        self._dead.discard(task_id)
        self._closed.discard(task_id)
        local_address = ""
        if needs_local(attachments, self._sets, has_host_ports=bool(host_ports)):
            local_address = await self._in_worker(self._local_address)
        attached = Attached(
            task_id=task_id,
            legs=legs_of(
                task_id,
                attachments,
                self._sets,
                has_host_ports=bool(host_ports),
                local_address=local_address,
            ),
            host_ports=tuple(host_ports),
            nameservers=nameservers,
        )
        await self._in_worker(lambda: self._reserve(attached.host_ports))
        self._attached[task_id] = attached
        try:
            await self._in_worker(self._save)
            sockets = await self._in_worker(lambda: self._make(task_id, sysctls))
            await self._serve(attached, sockets)
            outcome = await self._pass()
            for leg in attached.legs:
                if leg.network_id in outcome.failed:
                    raise outcome.failed[leg.network_id]
        except BaseException as error:
            await self._undo(task_id)
            if isinstance(error, OSError):
                raise Unavailable(f"the namespace of task {task_id} failed: {error}") from error
            raise

    def _make(self, task_id: str, sysctls: Mapping[str, str]) -> Sequence[socket]:
        self._kernel.make_container(task_id, sysctls)
        return self._kernel.in_container(task_id, make_sockets)

    async def _undo(self, task_id: str) -> None:
        await self._names.remove(task_id)
        self._attached.pop(task_id, None)
        await self._pass()
        await self._in_worker(lambda: self._kernel.remove_container(task_id))
        await self._in_worker(self._save)

    async def _serve(self, attached: Attached, sockets: Sequence[socket]) -> None:
        await self._names.add(
            attached.task_id,
            [leg.network_id for leg in attached.legs],
            sockets,
            forwards=any(leg.exit for leg in attached.legs),
            nameservers=attached.nameservers,
        )

    def _reserve(self, host_ports: Sequence[PortConfig]) -> None:
        shared = ingress_ports(self._sets.values(), ())
        own = {
            PublishedPort(port.published_port, port.protocol)
            for task in self._attached.values()
            for port in task.host_ports
        }
        for config in host_ports:
            port = PublishedPort(config.published_port, config.protocol)
            if port in shared or port in own or not self._kernel.reserve(port):
                raise AlreadyExists(
                    f"port {port} of this node is taken: stop who has it or publish another port"
                )

    def _local_address(self) -> str:
        if not self._reconciler.local_subnet:
            self._reconciler.local_subnet = choose_local_subnet(self._kernel.host_networks())
        return free_local_address(self._reconciler.local_subnet, self._attached.values())

    async def _pass(self) -> Outcome:
        """Bring everything to what is wished for now."""
        named = {task.task_id for endpoints in self._sets.values() for task in endpoints.tasks}
        self._dead &= named | self._attached.keys()
        self._closed &= self._attached.keys()
        wish = Wish(
            sets=self._sets,
            attached=dict(self._attached),
            dead=frozenset(self._dead),
            closed=frozenset(self._closed),
            complete=self._told,
        )
        outcome = await self._in_worker(lambda: self._reconciler.run(wish))
        await self._names.swap(dict(outcome.zones))
        for error in outcome.failed.values():
            log.error("overlay: %s", error.message)
        self._unsettled = bool(outcome.failed or outcome.taken)
        return outcome

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            if self._unsettled:
                async with self._lock:
                    await self._pass()

    async def _in_worker(self, work: Callable[[], T]) -> T:
        """The result of `work`, done by the worker thread; it is waited for even by a caller that
        was cancelled, so that nobody else begins before it has ended."""
        assert self._worker is not None, "the overlay is not started"
        done = asyncio.get_running_loop().run_in_executor(self._worker, work)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            await asyncio.wait([done])
            raise

    # ---- in the worker ----

    def _adopt(self) -> dict[str, Sequence[socket]]:
        """Open the kernel, drop what nobody remembers; answers DNS sockets by task id."""
        memory = self._file.load()
        self._ip_forward = memory.ip_forward or netlink.read_sysctl("ipv4/ip_forward")
        self._firewall = self._kernel.open()
        self._reconciler.heads.update(memory.heads)
        self._reconciler.local_subnet = memory.local_subnet
        self._reconciler.underlay_mtu_bytes = self._kernel.underlay_mtu(self._underlay)
        here = self._kernel.containers()
        for task_id in sorted(here):
            path = self._kernel.container_path(task_id)
            if task_id not in memory.attached or not netlink.is_namespace(path):
                self._kernel.remove_container(task_id)
                here.discard(task_id)
        self._attached = {key: memory.attached[key] for key in sorted(here)}
        if not memory.attached and not memory.heads:
            self._reconciler.know_host_empty()
        self._save()
        return {key: self._kernel.in_container(key, make_sockets) for key in self._attached}

    def _remove_everything(self) -> None:
        for task_id in sorted(self._kernel.containers()):
            self._kernel.remove_container(task_id)
        self._attached = {}
        self._reconciler.remove_all()
        self._kernel.clear_host()
        if self._ip_forward:
            netlink.sysctl("ipv4/ip_forward", self._ip_forward)
        self._kernel.remove_directories()
        self._file.remove()

    def _save(self) -> None:
        self._file.save(
            Memory(
                local_subnet=self._reconciler.local_subnet,
                ip_forward=self._ip_forward,
                heads=dict(self._reconciler.heads),
                attached=dict(self._attached),
            )
        )
