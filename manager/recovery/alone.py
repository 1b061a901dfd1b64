"""A swarm that goes on with one manager: what becomes of its log, its members and its nodes. Pure.

The survivor's state becomes a snapshot at a new place of the log, of a new term, with one member.
To the survivor that is a snapshot installed by a leader, so a crash on the way leaves the old state
or the new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from certs.authority import remembered_until
from manager.raft.core import Saved
from manager.raft.membership import Member, Membership, decode_change
from manager.raft.messages import Entry, EntryKind, SnapshotMeta
from manager.state.changes import Chain, Changed
from manager.state.query import name_of, word
from manager.state.snapshot import decode_snapshot, encode_snapshot
from manager.state.store import Transaction, commit, conclude
from manager.state.tables import KINDS, View
from pyswarm.errors import FailedPrecondition
from pyswarm.model import ManagerStatus, Node, NodeRole, NodeState

RECOVERED = "the swarm was recovered with one manager"
WAITING = f"{RECOVERED}, and this node has not come back since"
DEMOTED = (
    f"{RECOVERED}, and this node was not it: use 'pyswarm swarm leave --force' there and join again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """The moment at which a swarm is recovered: seconds since the epoch, and a random number of 63
    bits that no leader's chain of changes has had."""

    now: float
    epoch: int


def replay(view: View, entries: Iterable[Entry]) -> Iterator[tuple[View, tuple[Changed, ...]]]:
    """The view after each entry for the state machine, and what it changed."""
    for entry in entries:
        if entry.kind is not EntryKind.NORMAL:
            continue
        done = commit(view, entry.index, entry.data)
        if done is not None:
            view, news = done
            yield view, news.changes


def state_of(saved: Saved, data: bytes) -> View:
    """The state with everything that is in the log of this manager, committed or not.

    A leader keeps what it finds in its log, and an entry that only a majority knew to be committed
    was acknowledged: dropping it could lose what the survivor still has.
    """
    view = decode_snapshot(data) if saved.snapshot.index else View()
    behind = [entry for entry in saved.entries if entry.index > saved.snapshot.index]
    for after, _ in replay(view, behind):
        view = after
    return view


def describe(changes: Iterable[Changed]) -> Iterator[str]:
    """What was changed, in words for the user."""
    for change in changes:
        record = change.new if change.new is not None else change.old
        done = "created" if change.old is None else "changed"
        if change.new is None:
            done = "removed"
        yield f"{word(change.kind)} {name_of(record) or change.id} {done}"


def changed_at(view: View) -> float:
    """When the latest change of the state was made, in seconds since the epoch; 0 for none."""
    times = (record.meta.updated_at for kind in KINDS.values() for record in view.list(kind))
    return max(times, default=0.0)


def stranded(node: Node, now: float, *, keep_managers: bool) -> Node | None:
    """What becomes of another node: a manager is demoted or removed, a worker is waited for.

    A node that was ready is neither ready nor down until it comes back: its tasks stay its own,
    and nobody starts them a second time elsewhere.
    """
    if node.manager is not None or node.role is NodeRole.MANAGER:
        if not keep_managers:
            return None
        return replace(
            node,
            spec=replace(node.spec, role=NodeRole.WORKER),
            role=NodeRole.WORKER,
            manager=None,
            demoted_at=now,
            status=replace(node.status, state=NodeState.DOWN, message=DEMOTED),
        )
    if node.status.state is NodeState.READY:
        return replace(node, status=replace(node.status, state=NodeState.UNKNOWN, message=WAITING))
    return node


def survivor(known: Node, member: Member, address: str) -> Node:
    """The record of the one manager; `address` is "host:port"."""
    return replace(
        known,
        spec=replace(known.spec, role=NodeRole.MANAGER),
        role=NodeRole.MANAGER,
        status=replace(
            known.status,
            state=NodeState.UNKNOWN,
            message="it has not come up yet",
            address=address.rpartition(":")[0],
        ),
        manager=ManagerStatus(raft_id=member.raft_id, address=address),
    )


def with_one_manager(
    view: View, own: Node, index: int, recovery: Recovery, *, keep_managers: bool
) -> View:
    """The state with `own` as the only manager, as an entry at `index` would have made it.

    The other managers are demoted, or removed; their certificates of before count no more.
    """
    tx = Transaction(view, recovery.now)
    tx.put(own)
    removed = []
    for node in view.list(Node):
        if node.id == own.id:
            continue
        after = stranded(node, recovery.now, keep_managers=keep_managers)
        if after is None:
            removed.append(node)
            tx.delete(Node, node.id)
        elif after != node:
            tx.put(after)
    cluster = view.cluster
    if removed and cluster is not None:
        refused = {n.id: remembered_until(n, cluster.spec, recovery.now) for n in removed}
        tx.put(replace(cluster, removed_nodes={**cluster.removed_nodes, **refused}))
    done = conclude(view, tx.view, index, Chain(recovery.epoch, 1, view.version), tx.changes)
    assert done is not None, f"an entry made on version {view.version} does not follow it"
    return done[0]


def next_place(index: int, term: int, before: Membership, member: Member) -> SnapshotMeta:
    """The snapshot behind the log's last place, of a later term, with one member.

    The term is what makes the step atomic: with the snapshot on disk, a restart finds that the
    log's entries are of another history, and drops them. No id of a member is used again.
    """
    gone = (before.removed | set(before.ids)) - {member.raft_id}
    return SnapshotMeta(index + 1, term + 1, Membership(members=(member,), removed=gone))


def members_of(saved: Saved) -> Membership:
    """The members after all that is in the log, so that no id in it is used again."""
    membership = saved.snapshot.membership
    for entry in saved.entries:
        if entry.kind is EntryKind.MEMBERSHIP and entry.index > saved.snapshot.index:
            membership = membership.changed(decode_change(entry.data))
    return membership


def going_on(
    saved: Saved, data: bytes, member: Member, recovery: Recovery
) -> tuple[SnapshotMeta, bytes]:
    """What a manager that lost its quorum goes on with, from what it has on disk.

    Raises FailedPrecondition where it has never had the swarm's state.
    """
    view = state_of(saved, data)
    known = view.get(Node, member.node_id)
    if known is None or view.cluster is None:
        raise FailedPrecondition(
            "this manager has not received the swarm's state: use another manager, or a backup"
        )
    last = max([saved.snapshot.index, *(entry.index for entry in saved.entries[-1:])])
    place = next_place(last, saved.term, members_of(saved), member)
    own = survivor(known, member, member.address)
    view = with_one_manager(view, own, place.index, recovery, keep_managers=True)
    return place, encode_snapshot(view)


def unconfirmed(view: View, entries: Iterable[Entry], commit_index: int) -> list[str]:
    """What entries behind `commit_index` change, in words; `view` is the state before `entries`.

    No majority is known to have them. `going_on` keeps them, but for changes of the managers.
    """
    said = []
    entries = list(entries)
    for after, _ in replay(view, [entry for entry in entries if entry.index <= commit_index]):
        view = after
    for entry in entries:
        if entry.index <= commit_index:
            continue
        if entry.kind is EntryKind.MEMBERSHIP:
            said.append("a change of the managers (not kept)")
        for after, changes in replay(view, [entry]):
            view = after
            said += describe(changes)
    return said


def waiting_nodes(view: View) -> list[str]:
    """The hostnames of the nodes that have not come back since the recovery."""
    return sorted(
        node.hostname
        for node in view.list(Node)
        if node.status.state is NodeState.UNKNOWN and node.status.message == WAITING
    )
