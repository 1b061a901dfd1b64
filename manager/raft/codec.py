"""Messages to protobuf and back; ValueError for what a member cannot have sent."""

from __future__ import annotations

from typing import Any

from manager.raft import messages as m
from pyswarm.api.v1 import raft_pb2 as pb

_KINDS = {int(kind): kind for kind in m.EntryKind}
_LIMIT = 1 << 62
"""Indexes, terms and ids stay far below what a counter reaches in the life of a cluster."""

# Name of the field in the message, fields with the same name on both sides.
_PLAIN: dict[type[m.Message], tuple[str, tuple[str, ...]]] = {
    m.VoteRequest: ("vote_request", ("last_index", "last_term", "pre", "transfer")),
    m.VoteReply: ("vote_reply", ("granted", "pre", "commit_index", "commit_term")),
    m.AppendReply: ("append_reply", ("index", "rejected", "hint_index", "hint_term")),
    m.Heartbeat: ("heartbeat", ("commit", "context")),
    m.HeartbeatReply: ("heartbeat_reply", ("context",)),
    m.TimeoutNow: ("timeout_now", ()),
    m.ReadRequest: ("read_request", ("request",)),
    m.ReadReply: ("read_reply", ("request", "index")),
}
_BY_NAME = {name: (kind, fields) for kind, (name, fields) in _PLAIN.items()}

PART_BYTES_MOST = 128
"""What numbers, tags and lengths of a message, or of one of its entries, take at most."""


def to_wire(message: m.Message) -> pb.RaftMessage:
    """The message alone, for tests: a stream fills its envelopes."""
    wire = pb.RaftMessage()
    fill(wire, message)
    return wire


def fill(wire: pb.RaftMessage, message: m.Message) -> None:
    """Write a message into its place in an envelope, since protobuf copies a message that is put
    into another one. Snapshots have a call of their own."""
    wire.sender, wire.to, wire.term = message.sender, message.to, message.term
    if isinstance(message, m.Append):
        append = wire.append
        append.SetInParent()
        append.prev_index, append.prev_term = message.prev_index, message.prev_term
        append.commit = message.commit
        add = append.entries.add
        for entry in message.entries:
            add(term=entry.term, kind=entry.kind, data=entry.data)
        return
    name, fields = _PLAIN[type(message)]
    body = getattr(wire, name)
    body.SetInParent()
    for field in fields:
        setattr(body, field, getattr(message, field))


def bytes_most(message: m.Message) -> int:
    """A size that the message does not pass in an envelope."""
    if not isinstance(message, m.Append):
        return PART_BYTES_MOST
    data = sum([len(entry.data) for entry in message.entries])
    return data + (1 + len(message.entries)) * PART_BYTES_MOST


def from_wire(wire: pb.RaftMessage) -> m.Message:
    """The message in an envelope."""
    if not (0 < wire.sender < 1 << 63 and 0 < wire.to < 1 << 63 and 0 < wire.term < _LIMIT):
        raise ValueError("a raft message without sender, receiver or term")
    name = wire.WhichOneof("body")
    if name == "append":
        return _append(wire)
    if name is None or name not in _BY_NAME:
        raise ValueError("a raft message of an unknown kind")
    kind, fields = _BY_NAME[name]
    body = getattr(wire, name)
    values: dict[str, Any] = {field: getattr(body, field) for field in fields}
    # Numbers of reads are made by members and may use all 64 bits.
    if any(value >= _LIMIT for field, value in values.items() if field != "request"):
        raise ValueError(f"a number in a {name} is too large")
    return kind(sender=wire.sender, to=wire.to, term=wire.term, **values)


def _append(wire: pb.RaftMessage) -> m.Append:
    body = wire.append
    if max(body.prev_index, body.prev_term, body.commit) >= _LIMIT:
        raise ValueError("a number in an append is too large")
    entries = []
    before = body.prev_term
    for index, entry in enumerate(body.entries, body.prev_index + 1):
        kind = _KINDS.get(entry.kind)
        if kind is None or not before <= entry.term <= wire.term:
            raise ValueError(f"entry {index} of an append has an impossible kind or term")
        before = entry.term
        entries.append(m.Entry(index, entry.term, kind, entry.data))
    return m.Append(
        sender=wire.sender,
        to=wire.to,
        term=wire.term,
        prev_index=body.prev_index,
        prev_term=body.prev_term,
        commit=body.commit,
        entries=tuple(entries),
    )
