"""A swarm in a value: the planners, and agents that do as they are told, in steps of one second.

No clock, no loop, no network. `settle` runs until nothing changes any more, and `check` holds what
must be true at every moment against the state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from manager.allocator.plan import (
    Cursors,
    allocate_network,
    allocate_node,
    allocate_service,
    allocate_task,
)
from manager.control import edits
from manager.control.updates import edits as updates
from manager.orchestrator.plan import plan_service
from manager.placement.lost import is_lost
from manager.planning import revisions
from manager.scheduler.nodeinfo import survey
from manager.scheduler.plan import plan_view
from manager.state import Transaction, View
from manager.state.changes import Chain, encode_set
from manager.state.store import commit
from pyswarm.model import (
    Availability,
    Cluster,
    Network,
    NetworkSpec,
    Node,
    NodeDescription,
    NodeSpec,
    NodeState,
    NodeStatus,
    Resources,
    Service,
    ServiceSpec,
    Task,
    TaskState,
    TaskStatus,
    is_terminal,
)

Ending = Callable[[Task], TaskState | None]
"""How a task that runs ends now, by itself; None: it goes on."""

_NEXT = {
    TaskState.ASSIGNED: TaskState.PREPARING,
    TaskState.PREPARING: TaskState.READY,
    TaskState.READY: TaskState.RUNNING,
}


class World:
    """`nodes` nodes named node-1.. with 4 CPUs and 4 GiB each, and an ingress network."""

    def __init__(self, nodes: int = 3, labels: dict[str, dict[str, str]] | None = None) -> None:
        self.view = View()
        self.now = 1000.0
        self.ends: Ending = lambda task: None
        self.silent: set[str] = set()
        """Nodes whose agents neither hear nor speak."""
        self._cursors = Cursors()
        self._count = 0
        self._index = 0
        self.write(lambda tx: tx.put(Cluster(id="cluster")))
        self.write(
            lambda tx: tx.put(
                Network(id="ingress-id", spec=NetworkSpec(name="ingress", ingress=True))
            )
        )
        for number in range(1, nodes + 1):
            name = f"node-{number}"
            self.add_node(name, (labels or {}).get(name, {}))

    def write(self, fn: Callable[[Transaction], object]) -> None:
        """Run a transaction and commit it as raft would, by way of its bytes."""
        tx = Transaction(self.view, self.now)
        fn(tx)
        if tx.changes:
            self._index += 1
            data = encode_set(Chain(1, 1, self.view.version), tx.encoded()[0])
            done = commit(self.view, self._index, data)
            assert done is not None, f"entry {self._index} does not follow"
            self.view = done[0]

    def add_node(self, name: str, labels: dict[str, str]) -> None:
        """A node that is ready."""
        description = NodeDescription(
            hostname=name, resources=Resources(nano_cpus=4 * 10**9, memory_bytes=4 << 30)
        )
        status = NodeStatus(state=NodeState.READY, address="192.0.2.1")
        node = Node(id=name, spec=NodeSpec(labels=labels), description=description, status=status)
        self.write(lambda tx: tx.put(node))

    def set_node(
        self,
        name: str,
        state: NodeState | None = None,
        availability: Availability | None = None,
    ) -> None:
        """Change what is known or wanted of a node; a node that is down is silent."""
        node = self.view.require(Node, name)
        if state is not None:
            since = self.now if state == NodeState.DOWN else 0.0
            node = replace(node, status=replace(node.status, state=state, silent_since=since))
            (self.silent.add if state == NodeState.DOWN else self.silent.discard)(name)
        if availability is not None:
            node = replace(node, spec=replace(node.spec, availability=availability))
        self.write(lambda tx: tx.put(node))

    def create(self, spec: ServiceSpec) -> str:
        """A new service; its id is `id-NAME`."""
        service = edits.new_service(f"id-{spec.name}", spec, self.now)
        self._put(service)
        return service.id

    def change(self, service_id: str, spec: ServiceSpec) -> None:
        """Update a service, as the control API does."""
        old = self.view.require(Service, service_id)
        self._put(edits.update_service(old, spec, self.now))

    def roll_back(self, service_id: str, to: ServiceSpec | None = None) -> None:
        """Roll a service back, as the control API does."""
        old = self.view.require(Service, service_id)
        target = updates.target_of(old, to)
        back = edits.update_service(old, target, self.now)
        self._put(updates.rolled_back(old, back, self.now))

    def steer(self, service_id: str, action: int) -> None:
        """Pause, continue or abort an update, as the control API does."""
        self._put(updates.steered(self.view.require(Service, service_id), action, self.now))

    def _put(self, service: Service) -> None:
        self.write(lambda tx: revisions.put_service(tx, service))

    def remove(self, service_id: str) -> None:
        """Remove a service, as the control API does."""
        service = self.view.require(Service, service_id)
        self.write(lambda tx: tx.put(replace(service, pending_delete=True)))

    def service(self, service_id: str) -> Service:
        """The service as it is."""
        return self.view.require(Service, service_id)

    def running(self, service_id: str) -> list[Task]:
        """The tasks that run and shall run, by slot."""
        found = [
            task
            for task in self.view.tasks_of_service(service_id)
            if task.is_wanted
            and task.status.state == TaskState.RUNNING
            and not is_lost(self.view, task)
        ]
        return sorted(found, key=lambda task: (task.slot, task.node_id))

    def step(self) -> bool:
        """One second: each planner once, each agent once; whether anything changed."""
        before = self.view
        self._allocate()
        self._orchestrate()
        self._allocate()
        self._schedule()
        self._agents()
        self.check()
        self.now += 1.0
        return self.view is not before

    def settle(self, steps_max: int = 300) -> int:
        """Step until nothing has changed for 31 s; how many steps changed something."""
        quiet = changed = 0
        for _ in range(steps_max):
            if self.step():
                quiet, changed = 0, changed + 1
            else:
                quiet += 1
            if quiet > 31:
                return changed
        raise AssertionError(f"the world has not settled after {steps_max} s")

    def run(self, seconds: int) -> None:
        """Step for that long."""
        for _ in range(seconds):
            self.step()

    def check(self) -> None:
        """No address, port or index twice; no node beyond its size; no slot filled twice."""
        self._check_addresses()
        for node in self.view.list(Node):
            info = survey(self.view, node)
            assert info.nano_cpus_free >= 0, f"{node.id} lacks {-info.nano_cpus_free} nano CPUs"
        indexes = [n.index for n in self.view.list(Node) if n.index]
        assert len(set(indexes)) == len(indexes), f"indexes {indexes}"
        for service in self.view.list(Service):
            wanted = Counter(
                task.slot_key
                for task in self.view.tasks_of_service(service.id)
                if task.is_wanted
                and not is_terminal(task.status.state)
                and not is_lost(self.view, task)
                and task.desired_state >= TaskState.RUNNING
            )
            limit = 2 if service.spec.update.order else 1
            assert all(count <= limit for count in wanted.values()), f"{wanted}"

    def _check_addresses(self) -> None:
        owners: dict[tuple[str, str], str] = {}
        for task in self.view.list(Task):
            if not is_terminal(task.status.state):
                for attachment in task.networks:
                    key = (attachment.network_id, attachment.address)
                    assert owners.setdefault(key, task.id) == task.id, f"{key} twice"
        for service in self.view.list(Service):
            for vip in service.endpoint.virtual_ips:
                key = (vip.network_id, vip.address)
                assert owners.setdefault(key, service.id) == service.id, f"{key} twice"

    def _allocate(self) -> None:
        for node in self.view.list(Node):
            self.write(lambda tx, n=node: allocate_node(tx, n.id))  # type: ignore[misc]
        for network in self.view.list(Network):
            self.write(lambda tx, n=network: allocate_network(tx, n.id))  # type: ignore[misc]
        for service in self.view.list(Service):
            self.write(lambda tx, s=service: allocate_service(tx, s.id, self._cursors))  # type: ignore[misc]
        for task in self.view.tasks_in_state(TaskState.NEW):
            self.write(lambda tx, t=task: allocate_task(tx, t.id, self._cursors))  # type: ignore[misc]

    def _orchestrate(self) -> None:
        services = {s.id for s in self.view.list(Service)} | set(self.view.service_tasks)
        for service_id in sorted(services):
            more = True
            while more:
                found = plan_service(self.view, service_id, self.now, self)
                more = found.more

                def apply(tx: Transaction) -> None:
                    for task_id in found.deleted:  # noqa: B023 - it runs before the next round
                        tx.delete(Task, task_id)
                    for task in found.tasks:  # noqa: B023
                        tx.put(task)
                    if found.service is not None:  # noqa: B023
                        message = found.service.update_status.message  # noqa: B023
                        revisions.put_service(tx, found.service, message)  # noqa: B023

                self.write(apply)

    def __iter__(self) -> World:
        return self

    def __next__(self) -> str:
        self._count += 1
        return f"task-{self._count:06}"

    def _schedule(self) -> None:
        more = True
        while more:
            found = plan_view(self.view, self.now)
            more = found.more
            for task_id, node_id in found.placed.items():
                task = self.view.require(Task, task_id)
                status = TaskStatus(state=TaskState.ASSIGNED, timestamp=self.now)
                placed = replace(task, node_id=node_id, status=status)
                self.write(lambda tx, t=placed: tx.put(t))  # type: ignore[misc]
            for task_id, reason in found.refused.items():
                task = self.view.require(Task, task_id)
                refused = replace(task, status=replace(task.status, error=reason))
                self.write(lambda tx, t=refused: tx.put(t))  # type: ignore[misc]

    def _agents(self) -> None:
        for task in self.view.list(Task):
            state = task.status.state
            if is_terminal(state) or state < TaskState.ASSIGNED or task.node_id in self.silent:
                continue
            if self.view.get(Node, task.node_id) is None:
                continue
            new = self._moved(task)
            if new is not None and new != state:
                error = "task: non-zero exit (1)" if new == TaskState.FAILED else ""
                status = replace(task.status, state=new, timestamp=self.now, error=error)
                moved = replace(task, status=status)
                self.write(lambda tx, t=moved: tx.put(t))  # type: ignore[misc]

    def _moved(self, task: Task) -> TaskState | None:
        if task.desired_state >= TaskState.SHUTDOWN:
            return TaskState.SHUTDOWN
        if task.status.state == TaskState.READY and task.desired_state < TaskState.RUNNING:
            return None
        return _NEXT.get(task.status.state) or self.ends(task)
