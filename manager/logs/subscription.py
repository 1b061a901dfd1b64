"""One request for logs: which nodes were asked, and when everything has been said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pyswarm.model import Task, TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class AskNode:
    """Ask a node for the logs of these tasks of its own."""

    node_id: str
    tasks: tuple[str, ...]


@dataclass(slots=True)
class LogRequest:
    """The state of one request; `asked` holds each task for which some node was asked."""

    follow: bool
    asked: set[str] = field(default_factory=set)
    pending: dict[str, int] = field(default_factory=dict)
    """Answers that are still due, by node: each asking of a node is answered once by `done`."""

    def ask(self, tasks: Iterable[Task]) -> list[AskNode]:
        """Whom to ask for those of `tasks` that were not asked for before."""
        by_node: dict[str, list[str]] = {}
        for task in sorted(tasks, key=lambda t: (t.slot, t.node_id, t.id)):
            has_logs = task.node_id and task.status.state >= TaskState.ASSIGNED
            if has_logs and task.id not in self.asked:
                self.asked.add(task.id)
                by_node.setdefault(task.node_id, []).append(task.id)
        for node_id in by_node:
            self.pending[node_id] = self.pending.get(node_id, 0) + 1
        return [AskNode(node_id=n, tasks=tuple(tasks)) for n, tasks in sorted(by_node.items())]

    def done(self, node_id: str) -> None:
        """A node has said everything that one asking wanted, or will never say it."""
        left = self.pending.get(node_id, 0) - 1
        if left > 0:
            self.pending[node_id] = left
        else:
            self.pending.pop(node_id, None)

    @property
    def complete(self) -> bool:
        """Whether nothing more will come; a request that follows never ends by itself."""
        return not self.follow and not self.pending
