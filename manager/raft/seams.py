"""Where the consensus meets what it does not know: the state, the network, those who watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from manager.raft.membership import Membership
from manager.raft.messages import InstallSnapshot, Message

RoleCallback = Callable[[bool, int], None]
"""(whether this member leads, the term)."""


class StateMachine(Protocol):
    """What the log is for. All calls come from the event loop, in order."""

    def apply(self, index: int, data: bytes) -> None:
        """Take the committed entry at `index`; must not fail."""
        ...

    def capture(self) -> Callable[[], bytes]:
        """At once: a function that encodes the state of this moment, in any thread."""
        ...

    def restore(self, index: int, data: bytes) -> None:
        """Replace the state by a snapshot of `index`."""
        ...


class Transport(Protocol):
    """How messages reach the peers; `transport.PeerTransport` is the real one."""

    def start(self, receiver: Receiver) -> None:
        """Begin to deliver."""
        ...

    async def stop(self) -> None:
        """End."""
        ...

    def set_members(self, membership: Membership) -> None:
        """Know the peers."""
        ...

    def send(self, messages: Sequence[Message]) -> None:
        """Send, or lose."""
        ...

    def send_snapshot(self, message: InstallSnapshot, done: Callable[[bool], None]) -> None:
        """Send, and report whether it arrived."""
        ...


class Receiver(Protocol):
    """What the transport knows of the node."""

    raft_id: int

    def receive(self, messages: Sequence[Message]) -> None:
        """Messages arrived."""
        ...

    def unreachable(self, raft_id: int) -> None:
        """Messages to the member were lost."""
        ...

    def disconnected(self, raft_id: int) -> None:
        """The member's stream ended."""
        ...

    def check_sender(self, raft_id: int, node_id: str) -> None:
        """Raise SwarmError where messages of the member are not taken."""
        ...

    def told_removed(self) -> None:
        """Another member says that this one was removed."""
        ...

    def snapshot_limit_bytes(self) -> int:
        """The largest snapshot that is taken."""
        ...
