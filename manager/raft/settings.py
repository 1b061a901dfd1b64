"""Every figure of the consensus, with what happens when it is too big or too small."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftSettings:
    """Defaults for managers on one site.

    A lost leader is missed after `election_ticks` + 1 to 2 * `election_ticks` ticks, so with the
    defaults a new one writes within 2.5 s.
    """

    tick_seconds: float = 0.1
    heartbeat_ticks: int = 1
    # Too small: a busy machine loses its leadership. Too big: writes stop longer with the leader.
    election_ticks: int = 10
    # Too small: much time goes into snapshots. Too big: a restart replays long.
    snapshot_interval_entries: int = 10_000
    snapshot_interval_bytes: int = 64 << 20
    # Followers that are this far behind are served from the log instead of by a snapshot.
    entries_for_slow_followers: int = 500
    # One append, and one record of the WAL; below the 4 MiB limit of gRPC with an entry of the
    # largest size on top.
    append_bytes: int = 1 << 20
    entry_bytes: int = 3 << 20
    inflight_messages: int = 256
    inflight_bytes: int = 16 << 20
    # Callers that wait in `propose` at once; more are refused.
    proposals: int = 4096
    proposal_bytes: int = 64 << 20
    reads: int = 4096
    snapshot_bytes: int = 1 << 30
    segment_bytes: int = 16 << 20
    disk_retry_seconds: float = 1.0
