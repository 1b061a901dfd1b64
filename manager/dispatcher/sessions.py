"""Who is alive: sessions, beats, and the moment at which silence becomes death.

A node is down after `misses` periods without a beat. A new leader knows no session yet: it gives
every node that was ready `misses` periods plus `ADOPTION_SECONDS` to come and register, since its
agents must first notice that the old leader is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pyswarm.core import NEVER
from pyswarm.model import NodeState, NodeStatus

ADOPTION_SECONDS = 4.0
RESTART_SECONDS = 15.0
"""What an announced restart of a daemon may take. Too short, and an upgrade on a busy machine moves
its tasks; too long, and a machine that is switched off keeps them."""


@dataclass(slots=True)
class _Session:
    session_id: str
    """Empty for a node that a new leader expects."""
    due: float
    """The node is down unless it beats before this time."""


@dataclass(frozen=True, slots=True)
class NodeDown:
    """A node was silent for too long: for `silent_seconds`, or a new leader has heard nothing of
    it and counts from when the old one can have heard it last."""

    node_id: str
    message: str
    silent_seconds: float = 0.0

    def status(self, old: NodeStatus, now: float) -> NodeStatus:
        """The node's status after it, `now` in seconds since the epoch."""
        since = now - self.silent_seconds
        return replace(old, state=NodeState.DOWN, message=self.message, silent_since=since)


@dataclass(slots=True)
class Sessions:
    """The machine of all sessions of one leadership; times are monotonic seconds."""

    period_seconds: float
    misses: int
    _sessions: dict[str, _Session] = field(default_factory=dict)

    @property
    def grace_seconds(self) -> float:
        """Silence that a node survives."""
        return self.period_seconds * self.misses

    def configure(self, period_seconds: float, misses: int) -> None:
        """Take new settings; they count from each node's next beat on."""
        self.period_seconds, self.misses = period_seconds, misses

    def expect(self, node_id: str, now: float) -> None:
        """A node that was ready before this leadership."""
        if node_id not in self._sessions:
            due = now + self.grace_seconds + ADOPTION_SECONDS
            self._sessions[node_id] = _Session("", due)

    def register(self, node_id: str, session_id: str, now: float) -> None:
        """A node opened a session; an older session of the node is over."""
        self._sessions[node_id] = _Session(session_id, now + self.grace_seconds)

    def beat(self, node_id: str, session_id: str, now: float) -> bool:
        """Take a beat; False where the session is over, and the node must register again."""
        session = self._sessions.get(node_id)
        if session is None or session.session_id != session_id:
            return False
        session.due = max(session.due, now + self.grace_seconds)
        return True

    def restarting(self, node_id: str, session_id: str, now: float) -> None:
        """The node's daemon stops and will be back; its containers go on meanwhile."""
        session = self._sessions.get(node_id)
        if session is not None and session.session_id == session_id:
            session.due = now + max(self.grace_seconds, RESTART_SECONDS)

    def is_current(self, node_id: str, session_id: str) -> bool:
        """Whether this is the node's session, and not one that was replaced or given up."""
        session = self._sessions.get(node_id)
        return session is not None and session.session_id == session_id

    def forget(self, node_id: str) -> None:
        """The node said goodbye, or was removed."""
        self._sessions.pop(node_id, None)

    def tick(self, now: float) -> list[NodeDown]:
        """The nodes whose time is over, each named once."""
        grace = self.grace_seconds
        late = sorted(node_id for node_id, s in self._sessions.items() if s.due <= now)
        message = f"no heartbeat for {grace:g} s"
        # What was due later than a grace after the last word counts as if it had been heard later:
        # a lease that is judged by it ends late, and never early.
        return [
            NodeDown(node_id, message, now - self._sessions.pop(node_id).due + grace)
            for node_id in late
        ]

    def deadline(self) -> float:
        """When the next node is down if nothing is heard."""
        return min((session.due for session in self._sessions.values()), default=NEVER)
