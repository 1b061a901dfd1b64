"""Messages survive the wire; what no member can have sent is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.raft import codec
from manager.raft import messages as m
from pyswarm.api.v1 import raft_pb2 as pb

number = st.integers(0, 1 << 60)
some_id = st.integers(1, (1 << 63) - 1)
head = {"sender": some_id, "to": some_id, "term": st.integers(1, 1 << 60)}
entry = st.tuples(st.sampled_from(m.EntryKind), st.binary(max_size=50))


@st.composite
def appends(draw: st.DrawFn) -> m.Append:
    term, prev = draw(st.integers(5, 1 << 40)), draw(st.integers(0, 1 << 40))
    found = enumerate(draw(st.lists(entry)), prev + 1)
    return m.Append(
        sender=draw(some_id),
        to=draw(some_id),
        term=term,
        prev_index=prev,
        prev_term=draw(st.integers(0, 4)),
        commit=draw(number),
        entries=tuple(m.Entry(index, 5, kind, data) for index, (kind, data) in found),
    )


def of(kind: type[m.Message], **fields: st.SearchStrategy[object]) -> st.SearchStrategy[m.Message]:
    return st.builds(kind, **head, **fields)


flag = st.booleans()
messages = st.one_of(
    appends(),
    of(m.VoteRequest, last_index=number, last_term=number, pre=flag, transfer=flag),
    of(m.VoteReply, granted=flag, pre=flag, commit_index=number, commit_term=number),
    of(m.AppendReply, index=number, rejected=flag, hint_index=number, hint_term=number),
    of(m.Heartbeat, commit=number, context=number),
    of(m.HeartbeatReply, context=number),
    of(m.TimeoutNow),
    of(m.ReadRequest, request=number),
    of(m.ReadReply, request=number, index=number),
)


@given(messages)
def test_a_message_survives_the_wire(message: m.Message) -> None:
    data = codec.to_wire(message).SerializeToString()
    assert codec.from_wire(pb.RaftMessage.FromString(data)) == message


@given(messages)
def test_a_message_in_an_envelope_is_not_larger_than_foretold(message: m.Message) -> None:
    envelope = pb.RaftEnvelope(messages=[codec.to_wire(message)])
    assert envelope.ByteSize() <= codec.bytes_most(message)


def test_an_append_of_zeros_is_an_append() -> None:
    nothing = m.Append(sender=1, to=2, term=3, prev_index=0, prev_term=0, commit=0, entries=())
    assert codec.from_wire(codec.to_wire(nothing)) == nothing


@pytest.mark.parametrize(
    "wire",
    [
        pb.RaftMessage(),
        pb.RaftMessage(sender=1, to=2, term=3),
        pb.RaftMessage(to=2, term=3, timeout_now=pb.RaftTimeoutNow()),
        pb.RaftMessage(sender=1, to=2, term=3, heartbeat=pb.RaftHeartbeat(commit=(1 << 64) - 1)),
        pb.RaftMessage(sender=1, to=2, term=3, append=pb.RaftAppend(prev_index=1 << 63)),
        pb.RaftMessage(
            sender=1, to=2, term=3, append=pb.RaftAppend(entries=[pb.RaftEntry(term=4)])
        ),
        pb.RaftMessage(
            sender=1, to=2, term=3, append=pb.RaftAppend(entries=[pb.RaftEntry(term=3, kind=9)])
        ),
        pb.RaftMessage(
            sender=1,
            to=2,
            term=3,
            append=pb.RaftAppend(prev_term=2, entries=[pb.RaftEntry(term=1)]),
        ),
    ],
)
def test_what_no_member_sends_is_refused(wire: pb.RaftMessage) -> None:
    with pytest.raises(ValueError, match=r"raft message|append|too large"):
        codec.from_wire(wire)
