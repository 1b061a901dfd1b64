"""Who sees all members and all clients, and holds them to what consensus promises, step by step."""

from __future__ import annotations

from collections.abc import Mapping

from manager.raft.leader import Leader
from manager.raft.membership import Membership
from manager.raft.messages import Entry, EntryKind
from manager.raft.reads import Read
from pyswarm.errors import NotLeader
from pyswarm.testing.raft_node import SimNode, Violation, chained


class Observer:
    """Remembers what any member has promised, and holds the others to it."""

    def __init__(self, nodes: Mapping[int, SimNode]) -> None:
        self._nodes = nodes
        self.leaders: dict[int, int] = {}
        self.committed: dict[int, tuple[int, int]] = {}  # index -> term, term when first seen
        self.history: dict[int, int] = {}  # index -> digest
        self.memberships: dict[int, Membership] = {}  # index -> who took part behind it
        self.acknowledged: dict[int, bytes] = {}
        self.refused: set[bytes] = set()  # writes of which a client was told that they never count
        self.highest = 0  # index of what a client has seen: an acknowledged write, a finished read
        self._places: dict[bytes, int] = {}  # payload -> index

    def look(self, node: SimNode) -> None:
        """Check one member after something happened to it."""
        raft = node.raft
        log, role = raft.log, raft.role
        if role.__class__ is Leader:
            self._matches(node, role)
        marks = (
            role,
            raft.term,
            log.commit,
            log.stable,
            log.handed,
            log.applied,
            log.base_index,
            log.last_index,
            node.applied,
        )
        if marks == node.seen:
            return  # all that the checks below look at
        node.seen = marks
        raft.check()
        if raft.term < node.seen_term and raft.term < node.disk.term:
            raise Violation(f"the term of {node.id} went back from {node.seen_term}")
        node.seen_term = raft.term
        if isinstance(role, Leader):
            self._one_leader(node)
        if log.commit > node.seen_commit:
            self._commits(node)
        elif log.commit < node.seen_commit:
            raise Violation(f"the commit index of {node.id} went back from {node.seen_commit}")
        self._applied(node)

    def _matches(self, node: SimNode, leader: Leader) -> None:
        """What a leader believes of its peers, the peers must have promised."""
        seen = node.matches
        if node.seen and node.seen[0] is not leader:
            seen.clear()
        for peer, progress in leader.progress.items():
            match = progress.match
            if not 0 <= match < progress.next:
                raise Violation(f"{node.id} sends {peer} entry {progress.next}, it has {match}")
            known = seen.get(peer, 0)
            if match != known:
                seen[peer] = match
                if match < known:
                    raise Violation(f"{node.id} takes back that {peer} has {known}: now {match}")
                self._has(node, peer, match)

    def _has(self, node: SimNode, peer: int, match: int) -> None:
        log, other = node.raft.log, self._nodes.get(peer)
        if match > log.last_index:
            raise Violation(f"{node.id} believes that {peer} has {match}, beyond its own log")
        term = log.term(match)
        if other is None or term is None or other.disk.term > node.raft.term:
            return  # a later leader may have replaced it by now
        if not other.disk.has(match, term):
            raise Violation(f"{node.id} counts entry {match} of {peer}, whose disk has it not")

    def _one_leader(self, node: SimNode) -> None:
        raft = node.raft
        known = self.leaders.get(raft.term)
        if known == node.id:
            return
        if known is not None:
            raise Violation(f"two leaders in term {raft.term}: {known} and {node.id}")
        self.leaders[raft.term] = node.id
        log = raft.log
        for index in range(log.base_index + 1, max(self.committed, default=0) + 1):
            if index not in self.committed:
                continue
            term, seen = self.committed[index]
            if seen < raft.term and log.term(index) != term:
                raise Violation(
                    f"leader {node.id} of term {raft.term} lacks committed entry {index} of {term}"
                )

    def _commits(self, node: SimNode) -> None:
        raft = node.raft
        for index in range(node.seen_commit + 1, raft.log.commit + 1):
            term = raft.log.term(index)
            if term is None:
                continue  # a snapshot took its place; the digest tells whether it is the same
            known = self.committed.setdefault(index, (term, raft.term))
            if known[0] != term:
                raise Violation(f"entry {index} is committed with terms {known[0]} and {term}")
        node.seen_commit = raft.log.commit
        if isinstance(raft.role, Leader):
            self._durable(node)

    def _durable(self, node: SimNode) -> None:
        """What a leader calls committed survives the crash of everyone."""
        index = node.raft.log.commit
        term = node.raft.log.term(index)
        assert term is not None, "a leader has what it commits"
        # Counted here and not asked of the core: it is the core that is in doubt.
        voters = [m.raft_id for m in node.raft.membership.members if not m.learner]
        kept = [voter for voter in voters if self._nodes[voter].disk.has(index, term)]
        if len(kept) < len(voters) // 2 + 1:
            raise Violation(
                f"leader {node.id} committed entry {index}, but of the voters {voters} only "
                f"{kept} have it on disk"
            )

    def _applied(self, node: SimNode) -> None:
        index, members = node.applied, node.raft.membership
        if not index:
            return
        if self.history.setdefault(index, node.chain) != node.chain:
            raise Violation(f"{node.id} has another state at {index} than others had")
        if node.raft.log.applied != index:
            return  # in the middle of a batch
        known = self.memberships.setdefault(index, members)
        if known is not members and known != members:
            raise Violation(f"{node.id} has members {members.ids} at {index}, not {known.ids}")

    def applied(self, node: SimNode, entries: list[Entry], chain: int) -> None:
        """Check each step of a batch; `chain` is the digest before it."""
        for entry in entries:
            chain = chained(chain, entry)
            known = self.history.get(entry.index)
            if known is None:
                self.history[entry.index] = chain
                self._placed(entry)
            elif known != chain:
                raise Violation(f"{node.id} applied another entry {entry.index} than others did")

    def _placed(self, entry: Entry) -> None:
        if entry.kind is not EntryKind.NORMAL:
            return
        first = self._places.setdefault(entry.data, entry.index)
        if first != entry.index:
            raise Violation(f"write {entry.data!r} took effect twice: {first} and {entry.index}")
        if entry.data in self.refused:
            raise Violation(f"write {entry.data!r} was refused, and took effect at {entry.index}")

    # -- what clients are told ----------------------------------------------------------------

    def acknowledge(self, entry: Entry) -> None:
        """A client was told that `entry` is done."""
        assert entry.kind is EntryKind.NORMAL, entry
        self.acknowledged[entry.index] = entry.data
        self.highest = max(self.highest, entry.index)

    def done(self, data: bytes, index: int, floor: int) -> None:
        """A client was told that its write is at `index`; it had seen `floor` when it began."""
        if self._places.get(data) != index:
            place = self._places.get(data, "nowhere")
            raise Violation(f"write {data!r} is acknowledged at {index}, but it is at {place}")
        if index <= floor:
            raise Violation(f"write {data!r} is at {index}, but {floor} was done before it began")
        self.acknowledged[index] = data
        self.highest = max(self.highest, index)

    def refuse(self, data: bytes) -> None:
        """A client was told that its write did not and will not take effect."""
        self.refused.add(data)
        if data in self._places:
            raise Violation(f"write {data!r} is refused, but it is at {self._places[data]}")

    def served(self, node: SimNode, read: Read, floor: int) -> None:
        """A read was allowed at its index; `floor` was acknowledged before it was asked."""
        if read.index < floor:
            raise Violation(f"{node.id} serves a read at {read.index}, but {floor} was done before")

    def finished(self, version: int, floor: int) -> None:
        """A client has read the state `version`; it or others had seen `floor` when it began."""
        if version < floor:
            raise Violation(f"a read answers the state of {version}, but {floor} was seen before")
        self.highest = max(self.highest, version)


class ClientWrite:
    """A client that waits for its write."""

    __slots__ = ("_data", "_floor", "_observer", "answered", "served")

    def __init__(self, observer: Observer, data: bytes) -> None:
        self._observer = observer
        self._data = data
        self._floor = observer.highest
        self.answered = False
        self.served = False  # and not refused

    def done(self) -> bool:
        """Whether it was answered."""
        return self.answered

    def set_result(self, index: int, /) -> None:
        """It is done."""
        self.answered = self.served = True
        self._observer.done(self._data, index, self._floor)

    def set_exception(self, exception: BaseException, /) -> None:
        """It was refused, or its end is not known."""
        self.answered = True
        if isinstance(exception, NotLeader):
            self._observer.refuse(self._data)


class ClientRead:
    """A client that waits until the state is new enough for its read."""

    __slots__ = ("_observer", "answered", "floor", "served")

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.floor = observer.highest
        self.answered = False
        self.served = False  # and not refused

    def done(self) -> bool:
        """Whether it was answered."""
        return self.answered

    def set_result(self, version: int, /) -> None:
        """It reads."""
        self.answered = self.served = True
        self._observer.finished(version, self.floor)

    def set_exception(self, exception: BaseException, /) -> None:
        """It asks again elsewhere: another read."""
        self.answered = True
