"""What the commands of backup and recovery print. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from manager.recovery.backup import Manifest
from pyswarm.api.v1 import recovery_pb2
from pyswarm.cli.render import ago, clean, human_duration, human_size, table

_KINDS = ("nodes", "services", "tasks", "networks", "secrets", "configs")
NO_ROOT_KEY = (
    "Only the external CA has the root's key: a restore asks it for the new manager's "
    "certificate, and cannot do without."
)


def moment(at: float) -> str:
    """A time in UTC, from seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def contents(manifest: Manifest) -> str:
    """What is in a backup."""
    counts = ", ".join(f"{manifest.counts.get(kind, 0)} {kind}" for kind in _KINDS)
    members = ", ".join(m.address for m in manifest.membership.members)
    lines = [] if manifest.root_key else [NO_ROOT_KEY]
    holds = "the root key and the join tokens" if manifest.root_key else "the join tokens"
    return clean_lines(
        f"Backup of swarm {manifest.cluster_id}",
        f" Taken: {moment(manifest.created_at)} by {manifest.hostname}, "
        f"pyswarm {manifest.pyswarm_version}",
        f" Log: entry {manifest.index} of term {manifest.term}",
        f" Holds: {counts}; {holds}",
        f" Size: {human_size(manifest.state_bytes)}",
        f" Managers then: {members}",
        *lines,
    )


def clean_lines(*lines: str) -> str:
    """The lines without control characters."""
    return "\n".join(clean(line) for line in lines)


def restored(answer: recovery_pb2.RestoreResponse) -> str:
    """After a restore."""
    lines = [
        f"Swarm {answer.cluster_id} goes on: this node ({answer.node_id}) is its only manager, "
        f"at {answer.address}."
    ]
    if answer.dropped:
        lines.append(
            f"The managers before ({', '.join(answer.dropped)}) are no members any more: keep them "
            "off, or use 'pyswarm swarm leave --force' there and join them again."
        )
    lines += _waiting(answer.waiting)
    if answer.waiting:
        lines.append(
            "They look at the addresses of the managers before. Where this is another one: "
            f"'pyswarm swarm reconnect {answer.address}' on each of them."
        )
    return clean_lines(*lines)


def _waiting(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [
        f"Waiting for {len(names)} nodes ({', '.join(names)}): their tasks stay theirs until they "
        "come back, or until 'pyswarm node rm' says that they do not."
    ]


def going_on(plan: recovery_pb2.ForceNewClusterResponse, now: float, *, done: bool) -> str:
    """What `--force-new-cluster` did, or would do."""
    head = (
        f"This node ({plan.node_id}) is the only manager of its swarm now, at {plan.address}."
        if done
        else f"This node ({plan.node_id}) would become the only manager of its swarm."
    )
    gone = "Removed managers:" if done else "Managers that would be removed:"
    lines = [head, "", gone]
    for member in plan.dropped:
        heard = "not heard of since this daemon started"
        if member.heard_seconds >= 0:
            heard = f"last heard of {human_duration(member.heard_seconds).lower()} ago"
        lines.append(f" {member.hostname} ({member.address}), {heard}")
    lines += [
        "",
        f"Kept: all that this manager has, up to entry {plan.last_index} of the log; its latest "
        f"change was made {ago(plan.changed_at, now).lower()} ({moment(plan.changed_at)}).",
    ]
    if plan.unconfirmed:
        lines.append(
            f"Of that, {plan.unconfirmed_count} changed without a majority's known consent:"
        )
        lines += [f" {said}" for said in plan.unconfirmed]
        if plan.unconfirmed_count > len(plan.unconfirmed):
            lines.append(" ...")
    lines.append("Lost: what the other managers decided without this one, after that.")
    if plan.dropped:
        verb = "are" if done else "would be"
        lines.append(
            f"Their nodes {verb} demoted, and what ran there {verb} started elsewhere: use "
            "'pyswarm swarm leave --force' there before they join again."
        )
    if done:
        lines += _waiting(plan.waiting)
    else:
        lines.append("Nothing was changed.")
    return clean_lines(*lines)


def status(status: recovery_pb2.SwarmStatus, now: float) -> str:
    """How the managers stand."""
    count = status.managers
    lines = [
        f"Swarm: {status.cluster_id}",
        f"Quorum: {count} manager{'s' * (count != 1)}, quorum {status.quorum}, "
        f"{status.reachable} reachable, {status.may_fail} more may fail",
        f"Leader: {status.leader}"
        if status.leader
        else f"Leader: none. This is what {status.hostname} knows by itself.",
    ]
    rows = [_row(member, now) for member in status.members]
    headers = ("MANAGER", "ADDRESS", "STATUS", "TERM", "COMMIT", "APPLIED", "LAG")
    lines += ["", table(headers, [row for row, _ in rows])]
    headers = ("MANAGER", "SNAPSHOT", "AGE", "SIZE", "LOG ENTRIES", "LOG SIZE", "SEGMENTS")
    lines += ["", table(headers, [row for _, row in rows if row])]
    if status.advice:
        lines += ["", *(clean(f"! {sentence}") for sentence in status.advice)]
    return "\n".join(lines)


Cells = tuple[str, ...]


def _row(member: recovery_pb2.MemberStatus, now: float) -> tuple[Cells, Cells]:
    word = "Leader" if member.leader else "Reachable" if member.reachable else "Unreachable"
    if member.learner:
        word += " (learner)"
    name = member.hostname
    if not member.HasField("figures"):
        heard = member.heard_seconds
        word += f", heard {human_duration(heard).lower()} ago" if heard >= 0 else ""
        return (name, member.address, word, "-", "-", "-", "-"), ()
    f = member.figures
    numbers = (f.term, f.commit_index, f.applied_index, member.lag_entries)
    entries = max(0, f.last_index - f.first_index + 1)
    return (
        (name, member.address, word, *map(str, numbers)),
        (
            name,
            str(f.snapshot_index),
            human_duration(now - f.snapshot_at) if f.snapshot_at else "-",
            human_size(f.snapshot_bytes),
            str(entries),
            human_size(f.log_bytes),
            str(f.log_segments),
        ),
    )
