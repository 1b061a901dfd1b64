"""What a leader knows about one peer's log.

`match` is what the peer has promised; `next` is what it is sent next; `0 <= match < next`.
PROBE asks with one append per heartbeat where the logs agree. REPLICATE is optimistic: `next` runs
ahead of the replies, within a window of messages and bytes. SNAPSHOT waits for an install.
The shape is that of etcd/raft, tracker/progress.go.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from manager.raft.settings import RaftSettings


class ProgressState(Enum):
    """How a leader sends to a peer."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """One peer as its leader sees it."""

    __slots__ = (
        "_bytes",
        "_settings",
        "_window",
        "match",
        "next",
        "nudged",
        "paused",
        "replied",
        "silent_ticks",
        "snapshot_index",
        "state",
    )

    def __init__(self, settings: RaftSettings, next_index: int) -> None:
        self._settings = settings
        self._window: deque[tuple[int, int]] = deque()  # (last index, bytes) of each message
        self._bytes = 0
        self.match = 0
        self.next = next_index
        self.state = ProgressState.PROBE
        self.paused = False  # PROBE: one append is on its way, wait for a reply or a heartbeat's
        self.silent_ticks = 0  # since the last reply
        self.replied = False  # at all, to this leader
        self.nudged = True  # an append is due even without entries: it finds out what was lost
        self.snapshot_index = 0

    @property
    def active(self) -> bool:
        """Whether the peer has answered lately."""
        return self.silent_ticks < self._settings.election_ticks

    @property
    def may_send(self) -> bool:
        """Whether an append with entries may leave now."""
        if self.state is ProgressState.REPLICATE:
            return not self.window_full
        return self.state is ProgressState.PROBE and not self.paused

    @property
    def window_full(self) -> bool:
        """Whether as much is on its way as the settings allow."""
        return (
            len(self._window) >= self._settings.inflight_messages
            or self._bytes >= self._settings.inflight_bytes
        )

    def probe(self) -> None:
        """Ask where the logs agree, from what is known."""
        after = self.snapshot_index if self.state is ProgressState.SNAPSHOT else 0
        self._become(ProgressState.PROBE)
        self.next = max(self.match, after) + 1

    def replicate(self) -> None:
        """The logs agree up to `match`: send optimistically."""
        self._become(ProgressState.REPLICATE)
        self.next = self.match + 1

    def install(self, index: int) -> None:
        """A snapshot up to `index` is on its way."""
        self._become(ProgressState.SNAPSHOT)
        self.snapshot_index = index

    def snapshot_failed(self) -> None:
        """The snapshot did not arrive; probe again after the next heartbeat's reply."""
        self.snapshot_index = 0
        self.probe()
        self.paused = True

    def _become(self, state: ProgressState) -> None:
        self.state = state
        self.paused = False
        self.nudged = state is ProgressState.PROBE
        self.snapshot_index = 0
        self._window.clear()
        self._bytes = 0

    def sent(self, last_index: int, count: int, size: int) -> None:
        """An append with `count` entries up to `last_index` left."""
        self.nudged = False
        if self.state is ProgressState.REPLICATE:
            if count:
                self.next = last_index + 1
                self._window.append((last_index, size))
                self._bytes += size
        else:
            self.paused = True

    def accepted(self, index: int) -> bool:
        """The peer has everything up to `index`; False where that was known."""
        if self.state is ProgressState.REPLICATE:
            window = self._window
            while window and window[0][0] <= index:
                self._bytes -= window.popleft()[1]
        if index <= self.match:
            return False
        self.match = index
        self.next = max(self.next, index + 1)
        self.paused = False
        return True

    def rejected(self, index: int, next_probe: int) -> bool:
        """The peer refused an append behind `index`; False where the refusal is an old one."""
        if self.state is ProgressState.REPLICATE:
            if index <= self.match:
                return False
            self.next = self.match + 1
            return True
        if self.next - 1 != index:
            return False
        self.next = max(min(index, next_probe + 1), self.match + 1)
        self.paused = False
        return True

    def heard_heartbeat(self) -> None:
        """A reply came: what is on its way may have been lost, so let one message through."""
        self.paused = False
        if self.window_full:
            self._bytes -= self._window.popleft()[1]
