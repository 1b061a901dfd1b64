"""An overlay that only remembers what it was asked: for tests of the agent without a kernel."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from pyswarm.model import EndpointSet, NetworkAttachment, PortConfig


@dataclass(frozen=True, slots=True)
class FakeApplied:
    """What `apply` answers."""

    versions: dict[str, int]
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class FakeOverlay:
    """`calls` holds every call in order, as ("attach", "task id")."""

    sets: tuple[EndpointSet, ...] = ()
    namespaces: dict[str, str] = field(default_factory=dict)
    dead: list[str] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    running: bool = False

    async def start(self) -> None:
        """Begin to answer."""
        self.running = True

    async def stop(self) -> None:
        """Stop answering; namespaces stay."""
        self.running = False

    async def destroy(self) -> None:
        """Forget everything."""
        self.sets, self.running = (), False
        self.namespaces.clear()
        self.calls.append(("destroy", ""))

    async def attach(
        self,
        task_id: str,
        attachments: Sequence[NetworkAttachment],
        *,
        host_ports: Sequence[PortConfig] = (),
        nameservers: Sequence[str] = (),
    ) -> str:
        """A path that nothing lies at."""
        known = {endpoints.network_id for endpoints in self.sets}
        lost = [a.network_id for a in attachments if a.network_id not in known]
        assert not lost, f"task {task_id} joins {lost}, of which the overlay knows nothing"
        self.calls.append(("attach", task_id))
        return self.namespaces.setdefault(task_id, f"/nowhere/{task_id}")

    async def detach(self, task_id: str) -> None:
        """Forget the namespace."""
        self.calls.append(("detach", task_id))
        self.namespaces.pop(task_id, None)

    async def apply(self, sets: Sequence[EndpointSet]) -> FakeApplied:
        """Take the sets."""
        self.sets = tuple(sets)
        return FakeApplied({endpoints.network_id: endpoints.version for endpoints in sets})

    async def flush(self, task_id: str) -> None:
        """Everything has arrived."""
        self.calls.append(("flush", task_id))

    async def close_ports(self, task_id: str) -> None:
        """Remember that nobody comes in by its ports any more."""
        self.calls.append(("close-ports", task_id))

    async def mark_dead(self, task_id: str) -> None:
        """Remember that the task was taken out."""
        self.calls.append(("dead", task_id))
        self.dead.append(task_id)

    def attached(self) -> Collection[str]:
        """The tasks that have a namespace."""
        return set(self.namespaces)
