"""Users: a change each second through the control API of any manager, and what came of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

import grpc.aio

from pyswarm.api.v1 import control_pb2, control_pb2_grpc
from pyswarm.errors import SwarmError
from pyswarm.model import (
    Availability,
    ContainerSpec,
    FailureAction,
    NetworkAttachmentConfig,
    NetworkSpec,
    Node,
    NodeRole,
    NodeSpec,
    RestartCondition,
    RestartPolicy,
    Service,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
    UpdateOrder,
)
from pyswarm.model.identity import Identity
from pyswarm.rpc import swarm_errors
from pyswarm.testing.plane.loop import ProcessLoop, Timeline
from pyswarm.testing.plane.machine import JOB_IMAGE
from pyswarm.testing.plane.network import Network, RaftTransport
from pyswarm.testing.plane.observer import OPERATION, Observer
from pyswarm.testing.plane.rpc import Channel
from pyswarm.wire import from_message, to_message

NETWORKS = ("red", "blue")
CALL_SECONDS = 20.0


@dataclass(slots=True)
class Wish:
    """A service as its user knows it: the last acknowledged change, and whether it shall go."""

    acknowledged: int = 0
    removing: bool = False
    removed: bool = False
    busy: bool = False


def _image(mode: ServiceMode, number: int) -> str:
    return f"{JOB_IMAGE if mode.is_job else 'image:'}{number}"


class Users:
    """The clients of a swarm; a process of their own, which nothing ever happens to."""

    name = "users"
    peers: RaftTransport | None = None

    def __init__(
        self,
        timeline: Timeline,
        network: Network,
        observer: Observer,
        chance: random.Random,
        managers: Callable[[], list[str]],
        nodes: list[str],
        services: int,
        lease_seconds: float = 0.0,
    ) -> None:
        self.loop = ProcessLoop(timeline)  # type: ignore[abstract]
        self._timeline, self._network = timeline, network
        self._observer, self._chance = observer, chance
        self._managers, self._nodes, self._services = managers, nodes, services
        self._lease_seconds = lease_seconds
        self.wishes: dict[str, Wish] = {}
        self.node_wishes: dict[str, Wish] = {node: Wish() for node in nodes}
        self._drained: set[str] = set()
        self._count = 0
        self.done = self.refused = 0
        self.reasons: dict[str, int] = {}

    # ---- calls ----

    def _stub(self) -> Any:
        identity = Identity(
            node_id="node-users", role=NodeRole.MANAGER, cluster_id="simulated", serial="1"
        )
        address = self._chance.choice(self._managers())
        channel: Any = Channel(self._network, self, identity, address)
        return control_pb2_grpc.ControlStub(channel)

    async def _call(self, method: str, request: Any) -> Any:
        with swarm_errors():
            return await getattr(self._stub(), method)(request, timeout=CALL_SECONDS)

    @property
    def begun(self) -> int:
        """The changes that were asked for."""
        return self._count

    def begin(self) -> None:
        """One change, whatever becomes of it."""
        self._count += 1
        self.loop.start(self._attempt(self._pick(self._count)), f"change {self._count}")

    async def _attempt(self, change: Coroutine[Any, Any, None]) -> None:
        try:
            await change
            self.done += 1
        except (SwarmError, grpc.aio.AioRpcError) as error:
            self.refused += 1
            name = type(error).__name__
            self.reasons[name] = self.reasons.get(name, 0) + 1

    def _pick(self, number: int) -> Coroutine[Any, Any, None]:
        chance = self._chance
        free = [k for k, w in self.wishes.items() if not (w.busy or w.removing)]
        living = sum(not w.removing for w in self.wishes.values())
        draw = chance.random()
        if draw < 0.06:
            idle = [node for node in self._nodes if not self.node_wishes[node].busy]
            if idle:
                return self._turn_node(number, chance.choice(idle))
        if not free or (draw < 0.25 and living < self._services):
            return self._create(number)
        chosen = chance.choice(free)
        if draw > 0.88 or living > self._services:
            return self._remove(chosen)
        return self._update(number, chosen)

    # ---- changes ----

    async def make_networks(self) -> None:
        """The networks that services join."""
        for name in NETWORKS:
            spec = to_message(NetworkSpec(name=name))
            await self._call("CreateNetwork", control_pb2.CreateNetworkRequest(spec=spec))

    def _spec(self, number: int) -> ServiceSpec:
        chance = self._chance
        mode = chance.choices(tuple(ServiceMode), (6, 1, 2, 1))[0]
        condition = RestartCondition.ON_FAILURE if mode.is_job else RestartCondition.ANY
        task = TaskSpec(
            container=ContainerSpec(image=_image(mode, number), stop_grace_period_seconds=2.0),
            restart=RestartPolicy(
                condition=condition,
                delay_seconds=chance.choice((0.5, 2.0)),
                max_attempts=chance.choice((0, 0, 0, 2)) if mode.is_job else 0,
            ),
            networks=(NetworkAttachmentConfig(target=chance.choice(NETWORKS)),),
            stop_after_seconds=self._lease_seconds,
        )
        update = UpdateConfig(
            parallelism=chance.choice((0, 1, 2)),
            monitor_seconds=1.0,
            failure_action=FailureAction.CONTINUE,
            order=chance.choice((UpdateOrder.STOP_FIRST, UpdateOrder.STOP_FIRST, UpdateOrder(1))),
        )
        return ServiceSpec(
            name=f"service-{number}",
            labels={OPERATION: str(number)},
            task=task,
            mode=mode,
            replicas=chance.randint(1, 3),
            update=UpdateConfig() if mode.is_job else update,
            max_concurrent=chance.randint(0, 2) if mode == ServiceMode.REPLICATED_JOB else 0,
        )

    async def _create(self, number: int) -> None:
        spec = self._spec(number)
        request = control_pb2.CreateServiceRequest(spec=to_message(spec))
        created = await self._call("CreateService", request)
        self._observer.acknowledged(created.id, number)
        self.wishes[created.id] = Wish(acknowledged=number)

    async def _update(self, number: int, service_id: str) -> None:
        wish = self.wishes[service_id]
        wish.busy = True
        try:
            found = await self._call("GetService", control_pb2.Reference(ref=service_id))
            service = from_message(Service, found)
            spec = replace(service.spec, labels={OPERATION: str(number)})
            if self._chance.random() < 0.5 and not spec.mode.is_global:
                spec = replace(spec, replicas=self._chance.randint(1, 4))
            else:
                container = replace(spec.task.container, image=_image(spec.mode, number))
                spec = replace(spec, task=replace(spec.task, container=container))
            await self._call(
                "UpdateService",
                control_pb2.UpdateServiceRequest(
                    id=service_id, version=found.meta.version, spec=to_message(spec)
                ),
            )
            self._observer.acknowledged(service_id, number)
            wish.acknowledged = number
        finally:
            wish.busy = False

    async def _remove(self, service_id: str) -> None:
        wish = self.wishes[service_id]
        wish.removing = True
        await self._call("RemoveService", control_pb2.Reference(ref=service_id))
        wish.removed = True

    async def _turn_node(self, number: int, node_id: str) -> None:
        wish = self.node_wishes[node_id]
        wish.busy = True
        try:
            drain = len(self._drained) < 1 and node_id not in self._drained
            await self.set_availability(
                number, node_id, Availability.DRAIN if drain else Availability.ACTIVE
            )
            wish.acknowledged = number
        finally:
            wish.busy = False

    async def set_availability(self, number: int, node_id: str, wanted: Availability) -> None:
        """Drain a node, or take it back."""
        if wanted == Availability.DRAIN:
            self._drained.add(node_id)
        found = await self._call("GetNode", control_pb2.Reference(ref=node_id))
        node = from_message(Node, found)
        spec: NodeSpec = replace(node.spec, availability=wanted, labels={OPERATION: str(number)})
        request = control_pb2.UpdateNodeRequest(
            id=node_id, version=found.meta.version, spec=to_message(spec)
        )
        await self._call("UpdateNode", request)
        self._observer.acknowledged(node_id, number)
        if wanted == Availability.ACTIVE:
            self._drained.discard(node_id)

    async def reactivate(self) -> None:
        """Take back every node, however late a user's drain still comes."""
        while True:
            for node in self._observer.view.list(Node):
                if node.spec.availability != Availability.ACTIVE:
                    self._count += 1
                    await self._attempt(
                        self.set_availability(self._count, node.id, Availability.ACTIVE)
                    )
            await asyncio.sleep(1.0)

    # ---- the end ----

    def check(self) -> None:
        """What was acknowledged is still there, or was overtaken by a later change."""
        view, fail = self._observer.view, self._observer.fail
        for service_id, wish in self.wishes.items():
            service = view.get(Service, service_id)
            if service is None or service.pending_delete:
                if not wish.removing:
                    fail(f"service {service_id} is gone, and nobody removed it")
                continue
            if wish.removed:
                fail(f"service {service_id} was removed, and is there")
            last = int(service.spec.labels[OPERATION])
            if last < wish.acknowledged:
                fail(f"service {service_id} is at change {last}, {wish.acknowledged} was done")
        for node_id, wish in self.node_wishes.items():
            node = view.get(Node, node_id)
            if node is not None:
                last = int(node.spec.labels.get(OPERATION, 0))
                if last < wish.acknowledged:
                    fail(f"node {node_id} is at change {last}, {wish.acknowledged} was done")
