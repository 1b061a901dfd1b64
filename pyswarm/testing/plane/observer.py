"""Sees everything and forgets nothing: what the control plane has promised, checked at each step.

The *truth* is the state after the newest entry that any manager has applied. Every manager is held
to it entry by entry, so what is found against the truth is found against all of them.

**Lease**: a task holds its slot from the moment it has a node until it has ended, until the
managers no longer want it, or until its node counts as lost (down or removed). So a container may
start beside another one of the same slot only where that other one, or it itself, has lost its
lease since it was placed; where the service starts new tasks first; or where the other one was
told to stop so long ago that an update no longer waits for it. Where the service has its nodes stop
what no manager speaks for (`stop_after_seconds`), a lost node excuses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from zlib import crc32

from manager.state import Changed
from manager.state.changes import Commit
from manager.state.driver import Store
from manager.state.snapshot import encode_snapshot
from manager.state.tables import View
from pyswarm.model import (
    Availability,
    Node,
    NodeState,
    Service,
    Task,
    TaskState,
    UpdateOrder,
    is_terminal,
)
from pyswarm.testing.plane.drains import Drains
from pyswarm.testing.plane.jobs import Jobs
from pyswarm.testing.plane.loop import Timeline, Violation

SNAPSHOT_EVERY = 128
"""Entries between two comparisons of whole snapshots; single changes are compared at each."""
STOP_SECONDS = 60.0
"""What an update waits for the old task beyond its grace (`manager.orchestrator.update`)."""
CLOCK_SECONDS = 5.0
"""What the wall clocks of two managers may differ by."""
OPERATION = "operation"
"""The label that numbers the clients' changes."""


@dataclass(slots=True)
class Placed:
    """What is known of a task, whether its record is still there or not."""

    task: Task
    placed_at: float = 0.0
    unwanted_at: float = 0.0


@dataclass(slots=True)
class Observer:
    """Everything that was seen; `fail` ends the run."""

    timeline: Timeline
    view: View = field(default_factory=View)
    version: int = 0
    entries: dict[int, tuple[bytes, tuple[Changed, ...] | None]] = field(default_factory=dict)
    applied_by: dict[str, int] = field(default_factory=dict)
    leaders: dict[int, int] = field(default_factory=dict)
    digests: dict[int, int] = field(default_factory=dict)
    tasks: dict[str, Placed] = field(default_factory=dict)
    operations: dict[str, set[int]] = field(default_factory=dict)
    """Of each service and node, the clients' changes that are in the state or were."""
    lost_at: dict[str, float] = field(default_factory=dict)
    """When a node was last seen to be down or drained or was removed."""
    running: dict[tuple[str, int | str], dict[str, str]] = field(default_factory=dict)
    """Slot -> task -> host, of containers that run."""
    holders: dict[tuple[str, str], str] = field(default_factory=dict)
    """(network, address) -> who holds it, or held it last."""
    jobs: Jobs = field(default_factory=Jobs)
    drains: Drains = field(default_factory=Drains)
    daemon_problem: Callable[[str, BaseException], bool] = lambda name, error: False

    def fail(self, message: str) -> None:
        """A promise was broken."""
        self.timeline.fail(Violation(message))

    # ---- consensus ----

    def leads(self, term: int, raft_id: int) -> None:
        """A member acts as the leader of a term."""
        if self.leaders.setdefault(term, raft_id) != raft_id:
            self.fail(f"two leaders in term {term}: {self.leaders[term]:x} and {raft_id:x}")

    def applied(
        self, host: str, index: int, data: bytes, news: Commit | None, store: Store
    ) -> None:
        """A manager applied an entry; `news` is what it did, None where it did not count."""
        if index <= self.applied_by.get(host, 0):
            self.fail(f"{host} applied entry {index} after {self.applied_by[host]}")
        self.applied_by[host] = index
        changes = None if news is None else news.changes
        known = self.entries.get(index)
        if known is None:
            self.entries[index] = (data, changes)
            if index < self.version:
                self.fail(f"{host} applied an entry {index} that nobody had, after {self.version}")
            self.version = index
            self.view = store.view
            for change in changes or ():
                self._changed(change)
            self.jobs.entry(changes or (), self.view, self.fail)
            self.drains.entry(changes or (), self.view, self.timeline.now)
        elif known[0] != data:
            self.fail(f"{host} applied another entry {index} than others did")
        elif known[1] != changes:
            self.fail(f"entry {index} made something else of the state of {host} than of others'")
        if index % SNAPSHOT_EVERY == 0:
            self.compare(host, store)

    def restored(self, host: str, index: int, store: Store) -> None:
        """A manager took a snapshot."""
        if store.view.version > self.version:
            self.fail(f"{host} took a snapshot of {store.view.version}, which nobody has applied")
        self.applied_by[host] = index
        self.compare(host, store)

    def compare(self, host: str, store: Store) -> None:
        """Equal versions have equal bytes."""
        digest = crc32(encode_snapshot(store.view))
        if self.digests.setdefault(store.view.version, digest) != digest:
            self.fail(f"{host} has other bytes at version {store.view.version} than others")

    def daemon_failed(self, host: str, error: BaseException) -> None:
        """A daemon did not start."""
        if not self.daemon_problem(host, error):
            self.fail(f"{host} did not start: {error!r}")

    def daemon_ended(self, host: str) -> None:
        """A daemon is gone; the next one begins with its disk."""
        self.applied_by.pop(host, None)

    # ---- state ----

    def _changed(self, change: Changed) -> None:
        old, new = change.old, change.new
        if change.kind is Task:
            self._task(old, new)
        elif change.kind is Node:
            self._node(change.id, old, new)
        elif change.kind is Service:
            if new is not None:
                self._operation(new.id, new.spec.labels)
                claims = ((v.network_id, v.address) for v in new.endpoint.virtual_ips)
                self._claim(new.id, claims)
            elif old is not None:
                self._release(old.id, ((v.network_id, v.address) for v in old.endpoint.virtual_ips))

    def _operation(self, record_id: str, labels: object) -> None:
        number = dict(labels).get(OPERATION)  # type: ignore[call-overload]
        if number is not None:
            self.operations.setdefault(record_id, set()).add(int(number))

    def _node(self, node_id: str, old: Node | None, new: Node | None) -> None:
        if new is not None:
            self._operation(node_id, new.spec.labels)
        drained = new is not None and new.spec.availability == Availability.DRAIN
        if new is None or new.status.state != NodeState.READY or drained:
            self.lost_at[node_id] = self.timeline.now

    def _is_lost(self, node_id: str) -> bool:
        node = self.view.get(Node, node_id)
        return (
            node is None
            or node.status.state != NodeState.READY
            or node.spec.availability == Availability.DRAIN
        )

    def _task(self, old: Task | None, new: Task | None) -> None:
        now = self.timeline.now
        if new is None:
            assert old is not None
            self._release(old.id, ((a.network_id, a.address) for a in old.networks))
            self.tasks[old.id].unwanted_at = self.tasks[old.id].unwanted_at or now
            return
        known = self.tasks.get(new.id)
        if old is None and known is not None:
            self.fail(f"task {new.id} is there again after it was removed")
        if known is None:
            known = self.tasks[new.id] = Placed(new)
        before, known.task = known.task, new
        if old is not None:
            self._moved(before, new)
        if new.status.state >= TaskState.ASSIGNED and not known.placed_at:
            known.placed_at = now
        if not new.is_wanted and not known.unwanted_at:
            known.unwanted_at = now
        if is_terminal(new.status.state):
            self._release(new.id, ((a.network_id, a.address) for a in new.networks))
        else:
            self._claim(new.id, ((a.network_id, a.address) for a in new.networks))

    def _moved(self, old: Task, new: Task) -> None:
        was, now = old.status.state, new.status.state
        if now < was or (is_terminal(was) and now != was):
            self.fail(f"task {new.id} went from {was.name} back to {now.name}")
        if new.desired_state < old.desired_state:
            self.fail(f"task {new.id} is wanted as {new.desired_state.name} again")
        if old.node_id and new.node_id != old.node_id:
            self.fail(f"task {new.id} moved from node {old.node_id} to {new.node_id}")

    def _claim(self, owner: str, places: object) -> None:
        for place in places:  # type: ignore[attr-defined]
            if not place[1]:
                continue
            holder = self.holders.get(place)
            if holder == owner:
                continue
            if holder is not None and self._holds(holder, place):
                self.fail(f"address {place[1]} is given to {owner}, and {holder} has it")
            self.holders[place] = owner

    def _release(self, owner: str, places: object) -> None:
        for place in places:  # type: ignore[attr-defined]
            if self.holders.get(place) == owner and not self._runs(owner):
                del self.holders[place]

    def _holds(self, owner: str, place: tuple[str, str]) -> bool:
        known = self.tasks.get(owner)
        if known is None:
            return self.view.get(Service, owner) is not None
        record = self.view.get(Task, owner)
        if record is not None and not is_terminal(record.status.state):
            return any((a.network_id, a.address) == place for a in record.networks)
        return self._runs(owner) and not self._lost_lease(known)

    # ---- what really runs ----

    def _runs(self, task_id: str) -> bool:
        known = self.tasks.get(task_id)
        return known is not None and task_id in self.running.get(known.task.slot_key, {})

    def container_started(self, host: str, task_id: str) -> None:
        """A container runs from now on."""
        known = self.tasks.get(task_id)
        if known is None:
            self.fail(f"{host} started task {task_id}, of which nobody has heard")
            return
        if known.task.node_id != f"node-{host}":
            self.fail(f"{host} started task {task_id}, which is on {known.task.node_id}")
        beside = self.running.setdefault(known.task.slot_key, {})
        for other in beside:
            if not self._may_run_beside(known, self.tasks[other]):
                self.fail(
                    f"{host} started task {task_id} of slot {known.task.slot_key}, while task "
                    f"{other} runs on {beside[other]}"
                )
        beside[task_id] = host

    def _may_run_beside(self, new: Placed, old: Placed) -> bool:
        if not self._is_bound(old) and (self._lost_lease(old) or self._lost_lease(new)):
            return True
        service = self.view.get(Service, new.task.service_id)
        if service is None or service.spec.update.order == UpdateOrder.START_FIRST:
            return True
        if service.spec.rollback.order == UpdateOrder.START_FIRST:
            return True
        if old.task.desired_state == TaskState.REMOVE or not new.task.is_wanted:
            return True
        grace = old.task.spec.container.stop_grace_period_seconds + STOP_SECONDS
        return (
            bool(old.unwanted_at) and self.timeline.now - old.unwanted_at >= grace - CLOCK_SECONDS
        )

    def _is_bound(self, placed: Placed) -> bool:
        """Whether its node must have stopped it before another one runs, lost or not."""
        node = self.view.get(Node, placed.task.node_id)
        return (
            bool(placed.task.spec.stop_after_seconds and placed.task.slot)
            and node is not None
            and not node.status.left
        )

    def _lost_lease(self, placed: Placed) -> bool:
        node_id = placed.task.node_id
        return self._is_lost(node_id) or self.lost_at.get(node_id, -1.0) >= placed.placed_at

    def container_ended(self, host: str, task_id: str) -> None:
        """A container has ended."""
        known = self.tasks.get(task_id)
        if known is not None:
            self.running.get(known.task.slot_key, {}).pop(task_id, None)

    # ---- clients ----

    def acknowledged(self, record_id: str, number: int) -> None:
        """A client was told that its change is done."""
        if number not in self.operations.get(record_id, ()):
            self.fail(f"change {number} of {record_id} was acknowledged and is in no state")


__all__ = ["OPERATION", "Observer"]
