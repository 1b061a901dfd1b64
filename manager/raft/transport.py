"""Messages between managers over gRPC: one stream to each peer, snapshots in calls of their own.

Raft tolerates loss, so nothing is repeated here: a queue that overflows drops its oldest message,
and a stream that breaks drops what was in it and is opened again with back-off.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from manager.raft import codec, snapshots
from manager.raft.membership import Member, Membership
from manager.raft.messages import InstallSnapshot, Message
from manager.raft.seams import Receiver
from pyswarm.aio import Backoff, Supervisor
from pyswarm.api.v1 import raft_pb2 as pb
from pyswarm.api.v1 import raft_pb2_grpc as rpc
from pyswarm.errors import (
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    SwarmError,
)

log = logging.getLogger(__name__)

QUEUE_MESSAGES = 1024
ENVELOPE_BYTES = 3 << 20
"""An envelope ends with the message that reaches it, or before one that could pass 3.75 MiB."""
ENVELOPE_LIMIT_BYTES = (4 << 20) - (256 << 10)
CHUNK_BYTES = 512 << 10
WRITE_SECONDS = 5.0
SNAPSHOT_SECONDS = 60.0
SNAPSHOT_BYTES_PER_SECOND = 1 << 20
RESUME_SECONDS = 2.0
"""How long a sender waits for the word what has arrived; managers of older versions give none."""
KEPT_SECONDS = 60.0
"""How long what has arrived of a snapshot is kept, so that the next call goes on there."""
LEARNT_PEERS = 64
GOODBYE_SECONDS = 3.0
REMOVED_KEY = "pyswarm-raft-removed"
"""Trailing metadata of the refusal that a removed member gets."""
ARRIVED_KEY = "pyswarm-raft-arrived"
"""Initial metadata: how many bytes of this snapshot have arrived in an earlier call."""

Connect = Callable[[str, str], grpc.aio.Channel]
"""(address, node id) -> a new channel, on which that node must answer; the transport closes it."""
Authorize = Callable[[Any], str]
"""Context of a call -> node id of the manager that makes it; raises SwarmError for others."""


_BROKEN = (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError, SwarmError)
"""What a call to a peer may end with; grpcio raises InvalidStateError on a call that has ended."""


class PeerTransport:
    """Sends to all peers, and serves theirs: `add_to` a server, hand it to a `RaftNode`.

    `address` is where this manager is reached; peers that do not know it yet learn it from here.
    """

    def __init__(self, *, address: str, connect: Connect, authorize: Authorize) -> None:
        self.address = address
        self._connect = connect
        self._authorize = authorize
        self._receiver: Receiver | None = None
        self._peers: dict[int, _Peer] = {}
        self._places: dict[int, tuple[str, str]] = {}  # of the members, as the log has them
        self._supervisor = Supervisor("raft-transport")
        self._installing = False
        self._arrived: tuple[object, bytearray] | None = None
        self._streams: Counter[int] = Counter()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve the peers on `server`, which is not started yet."""
        rpc.add_RaftTransportServicer_to_server(_Servicer(self), server)

    # -- what the node calls ------------------------------------------------------------------

    def start(self, receiver: Receiver) -> None:
        """Begin to deliver."""
        self._receiver = receiver

    async def stop(self) -> None:
        """Stop delivering and sending."""
        self._receiver = None
        self._peers.clear()
        self._places.clear()
        await self._supervisor.close()

    def set_members(self, membership: Membership) -> None:
        """Know the addresses; a removed member is forgotten after a moment for the goodbye."""
        for member in membership.members:
            # An address that a member itself has told since is newer than one known before.
            place = (member.address, member.node_id)
            if self._places.get(member.raft_id) != place:
                self._places[member.raft_id] = place
                self._add(member)
        for raft_id in membership.removed & self._peers.keys():
            self._supervisor.start(self._forget(raft_id), f"forget-{raft_id:x}")

    def send(self, messages: Sequence[Message]) -> None:
        """Queue messages; those to strangers are dropped."""
        for message in messages:
            peer = self._peers.get(message.to)
            if peer is not None:
                peer.put(message)

    def send_snapshot(self, message: InstallSnapshot, done: Callable[[bool], None]) -> None:
        """Send a snapshot with its data, and report whether it arrived."""
        peer = self._peers.get(message.to)
        if peer is None:
            done(False)
        else:
            self._supervisor.start(self._snapshot(peer, message, done), f"snapshot-{message.to:x}")

    def _add(self, member: Member) -> None:
        receiver = self._receiver
        if receiver is None or member.raft_id == receiver.raft_id:
            return
        old = self._peers.get(member.raft_id)
        if old is not None:
            if (old.member.address, old.member.node_id) == (member.address, member.node_id):
                return
            old.close()
        peer = _Peer(member, receiver, self._connect, self.address)
        self._peers[member.raft_id] = peer
        peer.task = self._supervisor.start(peer.run(), f"peer-{member.raft_id:x}")

    async def _forget(self, raft_id: int) -> None:
        await asyncio.sleep(GOODBYE_SECONDS)
        self._places.pop(raft_id, None)
        peer = self._peers.pop(raft_id, None)
        if peer is not None:
            peer.close()

    async def _snapshot(
        self, peer: _Peer, message: InstallSnapshot, done: Callable[[bool], None]
    ) -> None:
        size = len(message.data)
        arrived = False
        channel = None
        try:
            async with asyncio.timeout(SNAPSHOT_SECONDS + size / SNAPSHOT_BYTES_PER_SECOND):
                channel = self._connect(peer.member.address, peer.member.node_id)
                call = _stub(channel).InstallSnapshot()
                await call.write(
                    pb.RaftSnapshotChunk(
                        sender=message.sender,
                        to=message.to,
                        term=message.term,
                        address=self.address,
                        head=snapshots.encode_meta(message.snapshot, size),
                    )
                )
                first = min(await _has(call), size) if peer.broke_off else 0
                # One without data where all of it is there already, and the answer was lost.
                for start in range(first, size, CHUNK_BYTES) or (first,):
                    piece = message.data[start : start + CHUNK_BYTES]
                    await call.write(pb.RaftSnapshotChunk(data=piece, offset=start))
                await call.done_writing()
                await call
                arrived = True
        except _BROKEN as error:
            log.warning(
                "a snapshot for %s at %s did not arrive: %s",
                peer.member.node_id,
                peer.member.address,
                _reason(error),
            )
        finally:
            peer.broke_off = not arrived
            done(arrived)
            if channel is not None:
                await channel.close(None)

    # -- what the servicer calls --------------------------------------------------------------

    def admit(self, node_id: str, sender: int, address: str = "") -> Receiver:
        """Check the sender of messages; their receiver. Asked again with each envelope."""
        receiver = self._receiver
        if receiver is None:
            raise FailedPrecondition("this manager does not take part in consensus now")
        if sender in (0, receiver.raft_id):
            raise InvalidArgument("a stream of raft messages begins with the sender's raft id")
        receiver.check_sender(sender, node_id)
        peer = self._peers.get(sender)
        known = peer is not None and peer.member.node_id == node_id
        if address and (known or (peer is None and len(self._peers) < LEARNT_PEERS)):
            # A new member hears of its leader here before the log has told it who is who, and a
            # member that has moved must get answers before a leader can be elected.
            self._add(Member(sender, node_id, address))
        return receiver

    def opened(self, sender: int) -> None:
        """A stream of the member began."""
        self._streams[sender] += 1
        if sender in self._peers:
            self._peers[sender].heard()

    def ended(self, sender: int) -> None:
        """It ended; the next one may have begun before."""
        self._streams[sender] -= 1
        if not self._streams[sender]:
            del self._streams[sender]
            if self._receiver is not None:
                self._receiver.disconnected(sender)

    def authorize(self, context: Any) -> str:
        """The node that makes the call."""
        return self._authorize(context)

    async def take_snapshot(
        self, chunks: AsyncIterator[pb.RaftSnapshotChunk], context: Any
    ) -> None:
        """Put a snapshot together and deliver it; one at a time, within the limit."""
        head = await anext(chunks, pb.RaftSnapshotChunk())
        node_id = self.authorize(context)
        receiver = self.admit(node_id, head.sender, head.address)
        if self._installing:
            raise ResourceExhausted("another snapshot is being received")
        self._installing = True
        try:
            meta, size = snapshots.decode_meta(head.head)
            if size > receiver.snapshot_limit_bytes():
                raise ResourceExhausted(
                    f"a snapshot of {size} bytes is above the limit of "
                    f"{receiver.snapshot_limit_bytes()}"
                )
            # A leader of one term is one process, so these are the same bytes.
            data = self._begun((node_id, head.sender, head.term, head.head))
            await context.send_initial_metadata(((ARRIVED_KEY, str(len(data))),))
            await _gather(chunks, data, size)
            message = InstallSnapshot(
                sender=head.sender,
                to=head.to,
                term=head.term,
                snapshot=meta,
                data=bytes(data),
            )
            self._arrived = None
            receiver.receive([message])
        except ValueError as error:
            raise InvalidArgument(f"the head of a snapshot cannot be read: {error}") from error
        finally:
            self._installing = False
            asyncio.get_running_loop().call_later(KEPT_SECONDS, self._drop, self._arrived)

    def _begun(self, key: object) -> bytearray:
        """What has arrived of this snapshot, to be added to; of another one nothing is kept."""
        if self._arrived is None or self._arrived[0] != key:
            self._arrived = (key, bytearray())
        return self._arrived[1]

    def _drop(self, arrived: object) -> None:
        if self._arrived is arrived and not self._installing:
            self._arrived = None


async def _has(call: Any) -> int:
    """How many bytes the other side has of a snapshot."""
    try:
        metadata = await asyncio.wait_for(call.initial_metadata(), RESUME_SECONDS)
    except TimeoutError:
        return 0
    found = dict(metadata or ()).get(ARRIVED_KEY, "")
    return int(found) if found.isdecimal() else 0


async def _gather(chunks: AsyncIterator[pb.RaftSnapshotChunk], data: bytearray, size: int) -> None:
    """Add the chunks to what is there, or begin anew where they do; InvalidArgument."""
    first = True
    async for chunk in chunks:
        if first and chunk.offset not in (0, len(data)):
            raise InvalidArgument("a snapshot does not go on where it broke off")
        if first and not chunk.offset:
            data.clear()
        first = False
        data += chunk.data
        if len(data) > size:
            data.clear()
            raise InvalidArgument("a snapshot is longer than its head says")
    if len(data) < size:
        raise InvalidArgument("a snapshot is shorter than its head says")


class _Peer:
    """The queue for one peer, and the work that empties it."""

    def __init__(
        self, member: Member, receiver: Receiver, connect: Connect, own_address: str
    ) -> None:
        self.member = member
        self.task: asyncio.Task[Any] | None = None
        self.broke_off = False
        """Whether the last snapshot for it did not arrive."""
        self._receiver = receiver
        self._connect = connect
        self._own_address = own_address
        self._queue: deque[Message] = deque(maxlen=QUEUE_MESSAGES)
        self._wake = asyncio.Event()
        self._lives = asyncio.Event()

    def put(self, message: Message) -> None:
        """Queue for sending."""
        self._queue.append(message)
        self._wake.set()

    def heard(self) -> None:
        """The peer is there: one that has just started must not wait for its vote to be asked."""
        self._lives.set()

    def close(self) -> None:
        """Stop sending."""
        if self.task is not None:
            self.task.cancel()

    async def run(self) -> None:
        """Keep a stream open while there is something to send."""
        backoff = Backoff(0.05, 1.0)
        reported = ""
        while True:
            await self._wake.wait()
            channel = None
            try:
                channel = self._connect(self.member.address, self.member.node_id)
                await self._pump(channel, backoff)
            except (
                grpc.aio.AioRpcError,
                asyncio.InvalidStateError,
                TimeoutError,
                SwarmError,
            ) as error:
                reason = _reason(error)
                if reason != reported:
                    log.warning(
                        "no stream to manager %s at %s: %s",
                        self.member.node_id,
                        self.member.address,
                        reason,
                    )
                reported = reason
            finally:
                if channel is not None:
                    await channel.close(None)
            self._queue.clear()
            self._wake.clear()
            self._receiver.unreachable(self.member.raft_id)
            self._lives.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff.next()):
                    await self._lives.wait()

    async def _pump(self, channel: grpc.aio.Channel, backoff: Backoff) -> None:
        call = _stub(channel).Stream()
        # A stream that has ended is noticed at once, and not by the loss of the next message.
        call.add_done_callback(lambda _: self._wake.set())
        hello = pb.RaftEnvelope(sender=self._receiver.raft_id, address=self._own_address)
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await call.write(hello)
            while True:
                await self._wake.wait()
                envelope = self._envelope()
                async with asyncio.timeout(WRITE_SECONDS):
                    await call.write(envelope)
                backoff.reset()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            if call.done():
                if any(key == REMOVED_KEY for key, _ in await call.trailing_metadata() or ()):
                    self._receiver.told_removed()
                raise InterruptedStream(await call.details() or "the stream ended") from None
            raise

    def _envelope(self) -> pb.RaftEnvelope:
        """All that waits, up to the limit of one gRPC message."""
        envelope = pb.RaftEnvelope()
        size = 0
        while self._queue and size < ENVELOPE_BYTES:
            length = codec.bytes_most(self._queue[0])
            if size and size + length > ENVELOPE_LIMIT_BYTES:
                break
            codec.fill(envelope.messages.add(), self._queue.popleft())
            size += length
        if not self._queue:
            self._wake.clear()
        return envelope


def _stub(channel: grpc.aio.Channel) -> Any:
    """The published stubs know neither `write` nor a call without an iterator."""
    return rpc.RaftTransportStub(channel)


class InterruptedStream(SwarmError):
    """The peer ended the stream; the message is its reason."""

    code = "UNAVAILABLE"
    temporary = True


def _reason(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.details() or error.code().name
    if isinstance(error, TimeoutError):
        return "it does not take messages in time"
    return str(error)


class _Servicer(rpc.RaftTransportServicer):
    """The side that listens."""

    def __init__(self, transport: PeerTransport) -> None:
        self._transport = transport

    async def Stream(self, requests: Any, context: Any) -> pb.RaftAck:
        """A peer's messages, until it or we go away."""
        sender = 0
        try:
            node_id = self._transport.authorize(context)
            async for envelope in requests:
                receiver = self._transport.admit(
                    node_id, sender or envelope.sender, envelope.address
                )
                if not sender:
                    sender = envelope.sender
                    self._transport.opened(sender)
                if envelope.messages:
                    receiver.receive(_messages(envelope, sender))
        except SwarmError as error:
            await _abort(context, error)
        finally:
            if sender:
                self._transport.ended(sender)
        return pb.RaftAck()

    async def InstallSnapshot(self, requests: Any, context: Any) -> pb.RaftAck:
        """A snapshot."""
        try:
            await self._transport.take_snapshot(aiter(requests), context)
        except SwarmError as error:
            await _abort(context, error)
        return pb.RaftAck()


def _messages(envelope: pb.RaftEnvelope, sender: int) -> list[Message]:
    try:
        found = [codec.from_wire(wire) for wire in envelope.messages]
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    if any(message.sender != sender for message in found):
        raise PermissionDenied("a raft message bears another sender than its stream")
    return found


async def _abort(context: Any, error: SwarmError) -> None:
    trailing = ((REMOVED_KEY, "1"),) if isinstance(error, RemovedSender) else ()
    await context.abort(grpc.StatusCode[error.code], error.message, trailing)


class RemovedSender(PermissionDenied):
    """The sender was removed from the cluster, and shall learn it."""
