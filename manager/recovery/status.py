"""How the managers stand, and what an operator should do about it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manager.raft.quorum import majority
from manager.skew import skew

LAG_ENTRIES = 1_000
"""A follower that is further behind is named: with the defaults of a busy swarm, a second or so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One manager. `applied` and `commit` are None where it could not be asked; `leads` is its own
    word, `names` the raft id of the leader that it follows (0 for none). `last` is the term and the
    index of its log's last entry, `ahead_seconds` its clock against that of who asks."""

    raft_id: int
    hostname: str
    address: str
    learner: bool = False
    commit: int | None = None
    applied: int | None = None
    last: tuple[int, int] = (0, 0)
    leads: bool = False
    names: int = 0
    ahead_seconds: float = 0.0

    @property
    def reachable(self) -> bool:
        """Whether it answered."""
        return self.applied is not None


@dataclass(frozen=True, slots=True)
class Quorum:
    """Of the managers that vote: how many there are, must agree, answer, and may still fail."""

    managers: int
    needed: int
    reachable: int

    @property
    def kept(self) -> bool:
        """Whether anything can be changed."""
        return self.reachable >= self.needed

    @property
    def may_fail(self) -> int:
        """How many more may fail."""
        return max(0, self.reachable - self.needed)


def quorum_of(members: Sequence[Standing]) -> Quorum:
    """The quorum as far as the members could be asked."""
    voters = [member for member in members if not member.learner]
    answering = sum(member.reachable for member in voters)
    return Quorum(len(voters), majority(len(voters)), answering)


def leader_of(members: Sequence[Standing]) -> Standing | None:
    """The leader: a member that says so and that a majority of the voters follows."""
    quorum = quorum_of(members)
    for candidate in members:
        followers = sum(m.names == candidate.raft_id for m in members if not m.learner)
        if candidate.leads and followers >= quorum.needed:
            return candidate
    return None


def lag_of(member: Standing, members: Sequence[Standing]) -> int:
    """Entries that are committed and not applied there; 0 where it could not be asked."""
    newest = max((other.commit or 0 for other in members), default=0)
    return 0 if member.applied is None else max(0, newest - member.applied)


def advice(
    members: Sequence[Standing], asked: str, waiting: Sequence[str], *, autolock: bool = False
) -> list[str]:
    """Sentences about what is wrong, the gravest first; none where all is well.

    `asked` is the hostname of the manager that looked, `waiting` those of the nodes that have not
    come back since a recovery.
    """
    locked = ", which may be locked: 'pyswarm swarm unlock' there" if autolock else ""
    quorum = quorum_of(members)
    said = []
    silent = [member for member in members if not member.reachable]
    if not quorum.kept:
        said.append(_lost(quorum, members, asked, locked))
    elif leader_of(members) is None:
        said.append(
            f"No manager leads, though {quorum.reachable} of {quorum.managers} answer: an election "
            "takes a few seconds. If this stays, look whether each manager can reach the others "
            "at TCP 2377, and into their logs."
        )
    elif silent:
        left = f"{quorum.may_fail} more may fail" if quorum.may_fail else "no other may fail"
        said.append(
            f"{_names(silent)} cannot be reached from {asked}; {left} before nothing can be "
            f"changed. Start it{locked}, or take it out for good with 'pyswarm node demote' and "
            "'node rm'."
        )
    if quorum.kept and quorum.managers % 2 == 0:
        said.append(
            f"{quorum.managers} managers tolerate no more failures than {quorum.managers - 1}: "
            "promote one more node, or demote one."
        )
    for member in members:
        lag = lag_of(member, members)
        if lag > LAG_ENTRIES:
            said.append(
                f"{member.hostname} is {lag} entries behind: if this grows, its disk or its "
                "network is too slow; until it is less, it does not help when another fails."
            )
        if off := skew(member.ahead_seconds):
            said.append(
                f"The clock of {member.hostname} is {off} that of {asked}: set it, for instance "
                "with NTP. Certificates tolerate an hour."
            )
    if waiting:
        shown = ", ".join(waiting[:10]) + (", ..." if len(waiting) > 10 else "")
        said.append(
            f"{len(waiting)} of the nodes have not come back since the recovery: {shown}. Their "
            "tasks wait for them. Where they do not know this manager's address, run 'pyswarm "
            "swarm reconnect HOST:PORT' there; those that are lost, 'pyswarm node rm' here."
        )
    return said


def _names(members: Sequence[Standing]) -> str:
    return ", ".join(f"{member.hostname} ({member.address})" for member in members)


def _lost(quorum: Quorum, members: Sequence[Standing], asked: str, locked: str) -> str:
    silent = [member for member in members if not member.reachable]
    # An entry that a majority had may be committed in one log only of those that are left.
    furthest = max((member for member in members if member.reachable), key=lambda each: each.last)
    return (
        f"Quorum is lost: {quorum.needed} of {quorum.managers} managers must agree, and "
        f"{quorum.reachable} can be reached from {asked}. Nothing can be changed; what runs goes "
        f"on. Bring back {_names(silent)}{locked}. Only if they are lost for good: 'pyswarm swarm "
        f"init --force-new-cluster --dry-run' on {furthest.hostname}, whose log goes furthest of "
        "those that answer, says what would be lost."
    )
