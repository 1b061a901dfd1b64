"""What the agent needs of the overlay; `overlay.driver.Overlay` is the real one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from pyswarm.model import EndpointSet, NetworkAttachment, PortConfig


class Applied(Protocol):
    """What became of the endpoint sets: `versions` by network id, and a sentence for each of the
    `problems`."""

    @property
    def versions(self) -> Mapping[str, int]:
        """The versions that the kernel and the DNS servers now show."""
        ...

    @property
    def problems(self) -> Sequence[str]:
        """What could not be done."""
        ...


class Overlay(Protocol):
    """Every call may be repeated, and raises SwarmError."""

    async def start(self) -> None:
        """Take up what the kernel still has from before, DNS first."""

    async def stop(self) -> None:
        """Stop answering; networks and containers stay connected."""

    async def destroy(self) -> None:
        """Remove everything from the kernel."""

    async def attach(
        self,
        task_id: str,
        attachments: Sequence[NetworkAttachment],
        *,
        host_ports: Sequence[PortConfig] = (),
        nameservers: Sequence[str] = (),
    ) -> str:
        """Make the task's network namespace and join its networks; answers its path."""
        ...

    async def detach(self, task_id: str) -> None:
        """Remove the namespace and everything that led to it."""

    async def apply(self, sets: Sequence[EndpointSet]) -> Applied:
        """Make kernel and DNS show exactly these sets."""
        ...

    async def flush(self, task_id: str) -> None:
        """Until the last answers of a task that has ended in order have arrived, bounded."""

    async def close_ports(self, task_id: str) -> None:
        """Let the host-mode ports of a task that shall stop take no new connection."""

    async def mark_dead(self, task_id: str) -> None:
        """Take a task that just died out of this node's virtual addresses, ports and DNS
        answers."""

    def attached(self) -> Collection[str]:
        """The tasks that have a namespace."""
        ...
