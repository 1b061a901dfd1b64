"""One request for logs: which nodes were asked, what they have said, and when that is all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pyswarm.model import Task, TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class AskNode:
    """Ask a node for the logs of these tasks of its own, from the time `since` on where some of
    it was shown before; else `since` is None, and the request's own bounds hold."""

    node_id: str
    tasks: tuple[str, ...]
    since: float | None = None


@dataclass(slots=True)
class Positions:
    """How far each task's lines were shown. Many lines may be of one moment, so those of the last
    one are counted."""

    last: dict[str, tuple[float, int]] = field(default_factory=dict)
    again: dict[str, int] = field(default_factory=dict)
    """Tasks that are read once more, with the lines of their last moment that still come again."""

    def resume(self, task_ids: Iterable[str]) -> float:
        """From when on to read these tasks once more; 0 where one of them was not read at all."""
        times = []
        for task_id in task_ids:
            time, count = self.last.get(task_id, (0.0, 0))
            times.append(time)
            if count:
                self.again[task_id] = count
        return min(times, default=0.0)

    def take(self, task_id: str, time: float) -> bool:
        """Whether this line was not shown before."""
        last, count = self.last.get(task_id, (0.0, 0))
        if task_id in self.again:
            if time < last:
                return False
            if time == last and self.again[task_id]:
                self.again[task_id] -= 1
                return False
            del self.again[task_id]
        self.last[task_id] = (time, count + 1) if time == last else (time, 1)
        return True


@dataclass(slots=True)
class LogRequest:
    """The state of one request; `asked` holds each task for which a node was asked, and the node.

    Who follows asks a node that was lost again once it is back (`is_there`), for what came since.
    """

    follow: bool
    asked: dict[str, str] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    """Answers that are still due, by node: each asking of a node is answered once by `done`."""
    positions: Positions = field(default_factory=Positions)
    lost_nodes: set[str] = field(default_factory=set)
    """Nodes that went away or were not there, and were named: their tasks are asked for again."""
    again: set[str] = field(default_factory=set)
    """Tasks of theirs that were asked for before."""

    def ask(self, tasks: Iterable[Task], is_there: Iterable[str] | None = None) -> list[AskNode]:
        """Whom to ask for those of `tasks` that were not asked for before; `is_there` are nodes
        that have a session, as far as that counts: the others that were lost are left alone."""
        there = None if is_there is None else set(is_there)
        new: dict[str, list[str]] = {}
        old: dict[str, list[str]] = {}
        for task in sorted(tasks, key=lambda t: (t.slot, t.node_id, t.id)):
            has_logs = task.node_id and task.status.state >= TaskState.ASSIGNED
            if not has_logs or task.id in self.asked:
                continue
            if task.node_id in self.lost_nodes and there is not None and task.node_id not in there:
                continue
            self.asked[task.id] = task.node_id
            by_node = old if task.id in self.again else new
            by_node.setdefault(task.node_id, []).append(task.id)
        asks = [AskNode(node_id=n, tasks=tuple(t)) for n, t in sorted(new.items())]
        for node_id, task_ids in sorted(old.items()):
            since = self.positions.resume(task_ids)
            asks.append(AskNode(node_id=node_id, tasks=tuple(task_ids), since=since))
        for ask in asks:
            self.pending[ask.node_id] = self.pending.get(ask.node_id, 0) + 1
            self.lost_nodes.discard(ask.node_id)
        return asks

    def done(self, node_id: str) -> None:
        """A node has said everything that one asking wanted, or will never say it."""
        left = self.pending.get(node_id, 0) - 1
        if left > 0:
            self.pending[node_id] = left
        else:
            self.pending.pop(node_id, None)

    def lost(self, node_id: str) -> None:
        """The node will answer nothing that it was asked."""
        self.pending.pop(node_id, None)
        if self.follow:
            self.lost_nodes.add(node_id)
            self.again |= {task_id for task_id, node in self.asked.items() if node == node_id}
            self.asked = {t: node for t, node in self.asked.items() if node != node_id}

    @property
    def complete(self) -> bool:
        """Whether nothing more will come; a request that follows never ends by itself."""
        return not self.follow and not self.pending
