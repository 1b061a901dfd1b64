"""One manager goes on with what it has: state, members, nodes."""

from __future__ import annotations

import pytest

from manager.raft.core import Saved
from manager.raft.membership import AddMember, Member, Membership, RemoveMember, encode_change
from manager.raft.messages import Entry, EntryKind, SnapshotMeta
from manager.recovery import alone
from manager.state.changes import Chain, encode_set
from manager.state.snapshot import decode_snapshot, encode_snapshot
from manager.state.store import Transaction, commit
from manager.state.tables import View
from pyswarm.errors import FailedPrecondition
from pyswarm.model import (
    Cluster,
    Config,
    ManagerStatus,
    Node,
    NodeDescription,
    NodeRole,
    NodeSpec,
    NodeState,
    NodeStatus,
    PayloadSpec,
)

NOW = 5000.0
RECOVERY = alone.Recovery(now=NOW, epoch=77)
M1, M2, M3 = (Member(number, f"m{number}", f"10.0.0.{number}:2377") for number in (1, 2, 3))
BEFORE = Membership(members=(M1, M2, M3), removed=frozenset({9}))


def node(name: str, state: NodeState, raft_id: int = 0) -> Node:
    role = NodeRole.MANAGER if raft_id else NodeRole.WORKER
    return Node(
        id=name,
        spec=NodeSpec(role=role, labels={"zone": "a"}),
        role=role,
        description=NodeDescription(hostname=f"host-{name}"),
        status=NodeStatus(state=state, address="10.0.0.9"),
        manager=ManagerStatus(raft_id=raft_id, address="x:1") if raft_id else None,
        certificate_serial="abc",
    )


class Leader:
    """Makes the entries that a leader of the old swarm would have made."""

    def __init__(self) -> None:
        self.view = View()
        self.entries: list[Entry] = []

    def write(self, *records: object, term: int = 3) -> None:
        tx = Transaction(self.view, 1000.0 + len(self.entries))
        for record in records:
            tx.put(record)
        number = len(self.entries) + 1
        data = encode_set(Chain(5, number, 0), tx.encoded()[0])
        done = commit(self.view, number, data)
        assert done is not None
        self.view = done[0]
        self.entries.append(Entry(number, term, EntryKind.NORMAL, data))

    def change(self, change: AddMember | RemoveMember) -> None:
        index = len(self.entries) + 1
        self.entries.append(Entry(index, 3, EntryKind.MEMBERSHIP, encode_change(change)))


def swarm() -> Leader:
    leader = Leader()
    leader.write(
        Cluster(id="c"),
        node("m1", NodeState.READY, 1),
        node("m2", NodeState.READY, 2),
        node("m3", NodeState.DOWN, 3),
        node("w1", NodeState.READY),
        node("w2", NodeState.DOWN),
    )
    leader.write(Config(id="k", spec=PayloadSpec(name="first")))
    return leader


def saved(leader: Leader, commit_index: int, keep: int = 0) -> tuple[Saved, bytes]:
    """What a manager has on disk: no snapshot, or one of the first `keep` entries."""
    if not keep:
        snapshot, data = SnapshotMeta(0, 0, BEFORE), b""
    else:
        view = View()
        for after, _ in alone.replay(view, leader.entries[:keep]):
            view = after
        snapshot, data = SnapshotMeta(keep, 3, BEFORE), encode_snapshot(view)
    return Saved(snapshot, tuple(leader.entries), 4, 1, commit_index), data


def after(leader: Leader, commit_index: int, keep: int = 0) -> tuple[SnapshotMeta, View]:
    place, data = alone.going_on(*saved(leader, commit_index, keep), M1, RECOVERY)
    return place, decode_snapshot(data)


def test_the_others_are_no_members_and_their_ids_are_never_used_again() -> None:
    leader = swarm()
    leader.change(AddMember(Member(8, "m8", "y:1")))
    place, _ = after(leader, 2)
    assert place.membership == Membership(members=(M1,), removed=frozenset({2, 3, 8, 9}))
    assert (place.index, place.term) == (4, 5), "behind the log, in a later term"


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_managers_are_demoted_and_workers_are_waited_for(keep: int) -> None:
    place, view = after(swarm(), 2, keep)
    states = {n.id: (n.status.state, n.role, n.spec.role, n.manager) for n in view.list(Node)}
    worker = NodeRole.WORKER
    assert states["m2"] == states["m3"] == (NodeState.DOWN, worker, worker, None)
    assert [view.require(Node, name).demoted_at for name in ("m2", "m3")] == [NOW, NOW], (
        "or their certificates of before would still be managers'"
    )
    assert states["w1"] == (NodeState.UNKNOWN, worker, worker, None)
    assert states["w2"] == (NodeState.DOWN, worker, worker, None)
    own = view.require(Node, "m1")
    assert own.manager == ManagerStatus(raft_id=1, address="10.0.0.1:2377")
    assert own.spec.labels == {"zone": "a"}
    assert alone.waiting_nodes(view) == ["host-w1"]
    assert view.version == place.index
    assert view.cluster is not None
    assert view.cluster.removed_nodes == {}


def test_what_is_in_the_log_is_kept_whether_or_not_it_is_known_to_be_committed() -> None:
    leader = swarm()
    leader.write(Config(id="l", spec=PayloadSpec(name="late")))
    _, view = after(leader, 1)
    assert [config.spec.name for config in view.list(Config)] == ["first", "late"]


def test_a_dry_run_says_what_is_not_confirmed() -> None:
    leader = swarm()
    leader.write(
        Config(id="l", spec=PayloadSpec(name="late")), Config(id="k", spec=PayloadSpec(name="new"))
    )
    leader.change(RemoveMember(2))
    assert alone.unconfirmed(View(), leader.entries, 2) == [
        "config late created",
        "config new changed",
        "a change of the managers (not kept)",
    ]
    assert alone.unconfirmed(View(), leader.entries, 4) == []
    assert alone.changed_at(leader.view) == 1002.0


def test_a_manager_without_state_cannot_go_on() -> None:
    with pytest.raises(FailedPrecondition, match="has not received"):
        alone.going_on(Saved(SnapshotMeta(0, 0, BEFORE), (), 4, 0, 0), b"", M1, RECOVERY)


def test_the_swarm_takes_changes_again_behind_the_recovery() -> None:
    place, view = after(swarm(), 2)
    tx = Transaction(view, NOW)
    tx.put(Config(id="n", spec=PayloadSpec(name="next")))
    entry = encode_set(Chain(78, 1, view.version), tx.encoded()[0])
    assert commit(view, place.index + 1, entry) is not None


def test_after_a_restore_the_managers_before_are_gone_and_their_certificates_refused() -> None:
    view = swarm().view
    new = Member(7, "new", "10.0.0.7:2377")
    own = alone.survivor(Node(id="new"), new, new.address)
    place = alone.next_place(2, 3, BEFORE, new)
    restored = alone.with_one_manager(view, own, place.index, RECOVERY, keep_managers=False)
    assert [n.id for n in restored.list(Node)] == ["new", "w1", "w2"]
    assert place.membership == Membership(members=(new,), removed=frozenset({1, 2, 3, 9}))
    cluster = restored.cluster
    assert cluster is not None
    assert cluster.removed_nodes.keys() == {"m1", "m2", "m3"}
    assert min(cluster.removed_nodes.values()) >= NOW + cluster.spec.certificate_life_seconds
    assert restored.require(Node, "new").status.address == "10.0.0.7"
