"""The three shapes of a deciding part, and the rule that time comes in as a value.

A core has no clock, no socket, no await and no randomness. Times are seconds as `float`: on a
monotonic scale inside machines, since the epoch in records. `check()` re-derives a core's
invariants from first principles; tests call it after each step.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

Event = TypeVar("Event", contravariant=True)
Command = TypeVar("Command")
Snapshot = TypeVar("Snapshot", contravariant=True)
Plan = TypeVar("Plan", covariant=True)

NEVER = float("inf")
"""The deadline of a machine that waits for an event only."""


class Planner(Protocol[Snapshot, Plan]):
    """(snapshot, now) -> plan; level-triggered, so a lost or doubled wake-up is harmless."""

    def __call__(self, snapshot: Snapshot, now: float) -> Plan:
        """Decide everything that the snapshot asks for."""
        ...


class Machine(Protocol[Event, Command]):
    """Events in, commands out; `deadline()` says when to call again without an event."""

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event and answer the work that it causes, in order."""
        ...

    def deadline(self) -> float:
        """When the machine next wants a tick; `NEVER` where it waits for events only."""
        ...

    def check(self) -> None:
        """Assert every invariant."""
        ...
