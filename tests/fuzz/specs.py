"""Service specifications of strangers, through the control API, the planners and a node.

An input decides everything: which specification a service is created with, and which it is changed
to. Whatever that is, the control API answers or refuses with a sentence, each planner goes on, the
node says a sentence or has a configuration for its container, and the service can be removed.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from dataclasses import replace
from typing import Any, cast

from fuzzing import EDGES, Target
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from agent.executor.containers import ContainerRequest, labels
from agent.hostfiles import etc_hosts, hostname, resolv_conf
from agent.mounts.layout import place
from agent.runtime import spec as runtime_spec
from agent.runtime.facts import HostFacts
from agent.runtime.logplan import log_plan
from agent.runtime.users import Identity
from manager.allocator.driver import Allocator
from manager.control.calls.server import ControlContext
from manager.control.services.server import ServiceCalls
from manager.orchestrator.driver import Orchestrator
from manager.scheduler.driver import Scheduler
from manager.state.driver import Store
from pyswarm.api.v1 import control_pb2, objects_pb2
from pyswarm.errors import Internal, SwarmError
from pyswarm.model import (
    Cluster,
    ContainerSpec,
    EndpointSpec,
    Healthcheck,
    Mount,
    MountType,
    Network,
    NetworkAttachmentConfig,
    NetworkSpec,
    Node,
    NodeDescription,
    NodeState,
    NodeStatus,
    Platform,
    PortConfig,
    Service,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
    Ulimit,
    is_terminal,
)
from pyswarm.registry.documents import ImageConfig
from pyswarm.rpc.errors import one_line
from pyswarm.templates.tasks import expand_container
from pyswarm.testing.store import instant_store
from pyswarm.wire import to_message

TEXTS = (
    *("", "a", "web", "/", "/data", "..", "../x", "/a/../b", "a b", "a=b", "=", ":", "\0", "\n"),
    *("x" * 64, "x" * 300, "ü", "\u0661", "\ud7ff", "-1", "0", "10m", "ALL", "CAP_KILL", "RESET"),
    *("{{.Task.Slot}}", "{{", "{{.Nope}}", "{{if .Task.ID}}", '{{index .Service.Labels "a"}}'),
    *('{{printf "%999d" 1}}', "{{range .Service.Labels}}{{.}}{{end}}", "SIGKILL", "RTMIN+99"),
    *("nofile", "net.core.somaxconn", "kernel.panic", "rslave", "json-file", "none", "journald"),
    *("max-size", "max-file", "node.role==manager", "node.labels.x != y", "==", "1.2.3.4", "::1"),
    *("node.labels.zone", "nobody:nogroup", "10.0.0.1 host", "localhost", "n1", "nginx", "(", "[a"),
)
FLOATS = (0.0, 1.0, -1.0, 0.5, 1e300, float("inf"), float("-inf"), float("nan"), 1e-9)
GOOD = ServiceSpec(
    name="web",
    labels={"a": "b"},
    replicas=2,
    task=TaskSpec(
        container=ContainerSpec(
            image="nginx:1",
            env=("A={{.Task.Slot}}", "B"),
            hostname="{{.Node.Hostname}}",
            mounts=(
                Mount(source="data", target="/data"),
                Mount(type=MountType.BIND, source="/a", target="/b", read_only=True),
                Mount(type=MountType.TMPFS, target="/t", tmpfs_size_bytes=4096),
            ),
            hosts=("10.0.0.1 db",),
            dns_nameservers=("1.1.1.1",),
            capability_add=("NET_ADMIN",),
            ulimits=(Ulimit(name="nofile", soft=1, hard=2),),
            sysctls={"net.core.somaxconn": "1"},
            healthcheck=Healthcheck(test=("CMD", "true"), interval_seconds=1.0),
        ),
        networks=(NetworkAttachmentConfig(target="front", aliases=("www",)),),
        log_driver="json-file",
        log_options={"max-size": "1m"},
    ),
    endpoint=EndpointSpec(ports=(PortConfig(target_port=80, published_port=8080),)),
)
ROUNDS_MAX = 60
TASKS_MAX = 400


def _scalar(chance: random.Random, field: FieldDescriptor) -> Any:
    kinds = FieldDescriptor
    if field.cpp_type == kinds.CPPTYPE_STRING:
        return chance.randbytes(5) if field.type == kinds.TYPE_BYTES else chance.choice(TEXTS)
    if field.cpp_type == kinds.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if field.cpp_type == kinds.CPPTYPE_ENUM:
        return chance.choice([*range(len(field.enum_type.values)), *range(3), 99, -1])
    if field.cpp_type == kinds.CPPTYPE_DOUBLE:
        return chance.choice(FLOATS)
    number = chance.choice([*EDGES[:-1], -1, 2, 3, 80, 100, 8080, -(1 << 63), chance.randrange(50)])
    bits = 32 if field.cpp_type in (kinds.CPPTYPE_INT32, kinds.CPPTYPE_UINT32) else 64
    return number & ((1 << (bits - 1)) - 1) if bits == 32 else min(number, (1 << 63) - 1)


def _is_map(descriptor: Descriptor | None) -> bool:
    return descriptor is not None and descriptor.GetOptions().map_entry


def spoil(chance: random.Random, message: Message) -> None:
    """Change one field somewhere in the message, or in one inside it."""
    field = chance.choice(message.DESCRIPTOR.fields)
    if _is_map(field.message_type):
        key, value = chance.choice(TEXTS), chance.choice(TEXTS)
        if field.message_type.fields_by_name["value"].message_type is None:
            getattr(message, field.name)[key] = value
    elif field.is_repeated:
        values = getattr(message, field.name)
        if field.message_type is None:
            values.append(_scalar(chance, field))
        elif values and chance.random() < 0.6:
            spoil(chance, chance.choice(list(values)))
        else:
            spoil(chance, values.add())
        if len(values) > 1 and chance.random() < 0.2:
            del values[0]
    elif field.message_type is not None:
        if chance.random() < 0.05:
            message.ClearField(field.name)
        else:
            spoil(chance, getattr(message, field.name))
    else:
        setattr(message, field.name, _scalar(chance, field))


def strange(chance: random.Random) -> Message:
    """A good specification with some fields changed."""
    message = to_message(GOOD)
    task = message.task
    # Most of what can be said, and be wrong, is about the container.
    parts = (message, message.endpoint, task, task.resources, task.networks[0])
    for _ in range(chance.choice((0, 1, 1, 2, 3, 8, 30))):
        spoil(chance, chance.choice((*parts, *[task.container] * 8)))
    return cast("Message", message)


class Swarm:
    """A manager's parts on a store of their own, and two nodes that obey."""

    def __init__(self) -> None:
        self.now = 1e9
        self.store: Store = instant_store(lambda: self.now)
        ids = itertools.count(1)

        def never(*_: object) -> Any:
            raise AssertionError("no call about services needs this")

        unused = dict.fromkeys(
            ControlContext.__dataclass_fields__.keys() - {"store", "new_id", "clock"}, never
        )
        context = ControlContext(
            store=self.store,
            new_id=lambda: f"{next(ids):025d}",
            clock=lambda: self.now,
            **unused,
        )
        self.calls = ServiceCalls(context)
        self.parts = [Allocator(self.store), Orchestrator(self.store), Scheduler(self.store)]

    async def begin(self) -> None:
        """Two nodes and two networks."""

        def change(tx: Any) -> None:
            tx.put(Cluster(id="cluster"))
            tx.put(Network(id="ingress", spec=NetworkSpec(name="ingress", ingress=True)))
            tx.put(Network(id="front-id", spec=NetworkSpec(name="front")))
            for number in (1, 2):
                tx.put(
                    Node(
                        id=f"n{number}",
                        description=NodeDescription(
                            hostname=f"host-{number}", platform=Platform(os="linux")
                        ),
                        status=NodeStatus(state=NodeState.READY),
                    )
                )

        await self.store.update(change)

    async def work(self) -> None:
        """One round of every part, and of the nodes."""
        for part in self.parts:
            part.observe(None)
            await part.act()
        await self.store.update(self._report)
        self.now += 1.0

    def _report(self, tx: Any) -> None:
        for task in tx.view.list(Task):
            state = _next(task)
            if state != task.status.state:
                tx.put(replace(task, status=TaskStatus(state=state, timestamp=tx.now)))


def _next(task: Task) -> TaskState:
    state = task.status.state
    if is_terminal(state) or state < TaskState.ASSIGNED:
        ended = task.desired_state > TaskState.RUNNING and not is_terminal(state)
        return TaskState.SHUTDOWN if ended else state
    if task.desired_state > TaskState.RUNNING:
        return TaskState.SHUTDOWN
    if task.desired_state < TaskState.RUNNING or state == TaskState.RUNNING:
        return state
    try:
        prepare(task)
    except SwarmError as error:
        assert_is_sentence(error)
        return TaskState.REJECTED
    return TaskState.RUNNING


def prepare(task: Task) -> None:
    """What a node makes of a task, up to the configuration that the runtime is given."""
    container = expand_container(task, NodeDescription(hostname="host"))
    name = hostname(container, task)
    etc_hosts(name, ("10.0.0.2",), container.hosts)
    resolv_conf(container)
    place(container.secrets, secrets=True)
    place(container.configs, secrets=False)
    request = ContainerRequest(
        id=task.id,
        container=container,
        limits=task.spec.resources.limits,
        memory_swap=task.spec.resources.memory_swap,
        mounts=tuple(
            replace(m, type=MountType.BIND, source="/v") if m.type is MountType.VOLUME else m
            for m in container.mounts
        ),
        namespace="/run/netns/x",
        hostname=name,
        labels=labels(task),
        log_driver=task.spec.log_driver,
        log_options=task.spec.log_options,
    )
    log_plan(request, ImageConfig())
    program = runtime_spec.program(request, ImageConfig(command=("sh",)), Identity(0, 0, (0,)))
    runtime_spec.build(request, program, HostFacts(init_path="/init"), "/x")


def assert_is_sentence(error: SwarmError) -> None:
    """One line that a user can read, and no bug in disguise."""
    assert not isinstance(error, Internal), error.message
    assert error.message, type(error)
    assert len(one_line(error.message).splitlines()) == 1, error.message


async def _told(call: Any) -> Any:
    try:
        return await call
    except SwarmError as error:
        assert_is_sentence(error)
        return None


async def _story(data: bytes) -> None:
    chance = random.Random(data)
    swarm = Swarm()
    await swarm.begin()
    first = strange(chance)
    if chance.random() < 0.3:
        first = objects_pb2.ServiceSpec.FromString(data)
    created = await _told(
        swarm.calls.CreateService(control_pb2.CreateServiceRequest(spec=first), None)
    )
    for _ in range(3):
        await swarm.work()
    for _ in range(2):
        service = next(iter(swarm.store.view.list(Service)), None)
        if service is None:
            break
        request = control_pb2.UpdateServiceRequest(
            id=service.id,
            version=service.meta.version,
            spec=strange(chance),
            rollback=chance.random() < 0.2,
        )
        if chance.random() < 0.5:
            request.spec.name = service.spec.name
            request.spec.mode = int(service.spec.mode)
        await _told(swarm.calls.UpdateService(request, None))
        for _ in range(2):
            await swarm.work()
    if created is not None:
        await _remove(swarm, created.id)


async def _remove(swarm: Swarm, service_id: str) -> None:
    assert len(list(swarm.store.view.list(Task))) <= TASKS_MAX * 10
    await swarm.calls.RemoveService(control_pb2.Reference(ref=service_id), None)
    for _ in range(ROUNDS_MAX):
        view = swarm.store.view
        if view.get(Service, service_id) is None and not list(view.list(Task)):
            return
        await swarm.work()
    raise AssertionError("the service cannot be removed")


def read(data: bytes) -> None:
    """A whole life of a service that the bytes describe."""
    asyncio.run(_story(data))


SERVICE_SPECS = Target(
    "service-specs", read, (DecodeError,), (to_message(GOOD).SerializeToString(), b"seed")
)
