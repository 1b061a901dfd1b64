"""Who takes part: members, and the one change at a time that alters them.

A change is an entry of the log like any other. It takes effect when it is applied, and a leader
accepts the next one only after that (Ongaro's thesis, section 4.1; the same rule as etcd/raft).
Raft ids are never used twice: a member that lost its disk has forgotten its votes, so it must come
back under a new id.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from pyswarm.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound


@dataclass(frozen=True, slots=True)
class Member:
    """One manager; a learner receives the log but neither votes nor counts."""

    raft_id: int
    node_id: str = ""
    address: str = ""
    learner: bool = False


@dataclass(frozen=True, slots=True)
class AddMember:
    """Add a voter or a learner; for a member that is a learner: make it a voter."""

    member: Member


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """Remove a member for ever."""

    raft_id: int


@dataclass(frozen=True, slots=True)
class UpdateMember:
    """The member moved to another address."""

    raft_id: int
    address: str


Change = AddMember | RemoveMember | UpdateMember


@dataclass(frozen=True, slots=True)
class Membership:
    """The members in the order of their ids, and the ids that were removed."""

    members: tuple[Member, ...] = ()
    removed: frozenset[int] = frozenset()
    ids: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """All ids, learners included."""
    voters: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The ids whose votes and acknowledgements count."""
    _by_id: dict[int, Member] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.members, key=lambda member: member.raft_id))
        voters = tuple(member.raft_id for member in ordered if not member.learner)
        object.__setattr__(self, "members", ordered)
        object.__setattr__(self, "ids", tuple(member.raft_id for member in ordered))
        object.__setattr__(self, "voters", voters)
        object.__setattr__(self, "_by_id", {member.raft_id: member for member in ordered})
        assert len(self._by_id) == len(ordered), f"raft id twice in {ordered}"

    @staticmethod
    def of(members: Iterable[Member]) -> Membership:
        """A first membership."""
        return Membership(members=tuple(members))

    def get(self, raft_id: int) -> Member | None:
        """The member, or None."""
        return self._by_id.get(raft_id)

    def refusal(self, change: Change) -> None:
        """Raise where `change` cannot be made to this membership."""
        if isinstance(change, AddMember):
            self._refuse_add(change.member)
            return
        if self.get(change.raft_id) is None:
            raise NotFound(f"raft member {change.raft_id:x} is not part of this cluster")
        if isinstance(change, RemoveMember) and self.voters == (change.raft_id,):
            raise FailedPrecondition(
                "the last manager cannot be removed: promote another node first"
            )

    def _refuse_add(self, member: Member) -> None:
        if not 0 < member.raft_id < 1 << 63:
            raise InvalidArgument(f"raft id {member.raft_id} is not between 1 and 2**63 - 1")
        if member.raft_id in self.removed:
            raise FailedPrecondition(
                f"raft member {member.raft_id:x} was removed and cannot return: join under a new id"
            )
        old = self.get(member.raft_id)
        if old is not None and (member.learner or not old.learner):
            raise AlreadyExists(f"raft member {member.raft_id:x} is already part of this cluster")

    def changed(self, change: Change) -> Membership:
        """The membership after `change`; a change that no longer fits changes nothing.

        Every member must come to the same result from the same log, so this never raises.
        """
        others = tuple(member for member in self.members if member.raft_id != _subject(change))
        if isinstance(change, AddMember):
            if change.member.raft_id in self.removed:
                return self
            return replace(self, members=(*others, change.member))
        old = self.get(change.raft_id)
        if old is None:
            return self
        if isinstance(change, RemoveMember):
            return replace(self, members=others, removed=self.removed | {change.raft_id})
        return replace(self, members=(*others, replace(old, address=change.address)))


def _subject(change: Change) -> int:
    return change.member.raft_id if isinstance(change, AddMember) else change.raft_id


def _member_fields(member: Member) -> list[Any]:
    return [member.raft_id, member.node_id, member.address, member.learner]


def encode_change(change: Change) -> bytes:
    """The payload of a membership entry."""
    if isinstance(change, AddMember):
        return json.dumps(["add", *_member_fields(change.member)]).encode()
    if isinstance(change, RemoveMember):
        return json.dumps(["remove", change.raft_id]).encode()
    return json.dumps(["update", change.raft_id, change.address]).encode()


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("too many brackets") from error


def _raft_id(found: Any) -> int:
    if not isinstance(found, int):
        raise ValueError("not a raft id")
    return found


def _member(fields: Any) -> Member:
    match fields:
        case [int(raft_id), str(node_id), str(address), bool(learner)]:
            return Member(raft_id, node_id, address, learner)
    raise ValueError("not a member")


def decode_change(data: bytes) -> Change:
    """The reverse of `encode_change`; ValueError for anything else."""
    match _parse(data):
        case ["add", *fields]:
            return AddMember(_member(fields))
        case ["remove", int(raft_id)]:
            return RemoveMember(raft_id)
        case ["update", int(raft_id), str(address)]:
            return UpdateMember(raft_id, address)
    raise ValueError("not a membership change")


def encode_membership(membership: Membership) -> bytes:
    """The membership as a snapshot carries it."""
    members = [_member_fields(member) for member in membership.members]
    return json.dumps([members, sorted(membership.removed)]).encode()


def decode_membership(data: bytes) -> Membership:
    """The reverse of `encode_membership`; ValueError for anything else."""
    try:
        members, removed = _parse(data)
        return Membership(
            members=tuple(map(_member, members)),
            removed=frozenset(_raft_id(each) for each in removed),
        )
    except (TypeError, AssertionError) as error:
        raise ValueError("not a membership") from error
