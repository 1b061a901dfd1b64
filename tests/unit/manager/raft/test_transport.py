"""The listening side refuses what it must; for the rest see test_driver.py."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest

from manager.raft import snapshots, transport
from manager.raft.membership import Member
from manager.raft.messages import Append, Entry, EntryKind, SnapshotMeta
from pyswarm.api.v1 import raft_pb2 as pb
from pyswarm.api.v1 import raft_pb2_grpc as rpc
from pyswarm.testing.raft_cluster import NODE_KEY, SETTINGS, Manager, eventually

HEARTBEAT = pb.RaftMessage(sender=2, to=1, term=9, heartbeat=pb.RaftHeartbeat())


def with_a_manager(path: Path, story: Callable[[Manager, rpc.RaftTransportStub], Awaitable[None]]):
    async def work() -> None:
        manager = Manager(1, path, SETTINGS, 0)
        await manager.start()
        async with grpc.aio.insecure_channel(manager.address) as channel:
            try:
                await story(manager, rpc.RaftTransportStub(channel))
            finally:
                await manager.stop()

    asyncio.run(work())


async def refusal(call, node: str, *requests: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(iter(requests), metadata=((NODE_KEY, node),), timeout=30)
    return refused.value.code(), refused.value.details() or ""


def test_messages_reach_the_core_teach_the_way_back_and_their_end_is_noticed(
    tmp_path: Path,
) -> None:
    async def story(manager: Manager, stub: rpc.RaftTransportStub) -> None:
        over = asyncio.Event()

        async def leading() -> AsyncIterator[pb.RaftEnvelope]:
            yield pb.RaftEnvelope(sender=2, address="127.0.0.1:9")
            yield pb.RaftEnvelope(messages=[HEARTBEAT])
            await over.wait()

        call = stub.Stream(leading(), metadata=((NODE_KEY, "n2"),), timeout=30)
        await eventually(lambda: manager.node.leader_id == 2)
        assert manager.node.term == 9
        assert 2 in manager._transport._peers
        over.set()
        await call
        await eventually(lambda: manager.node.leader_id == 0)

    with_a_manager(tmp_path, story)


def test_what_does_not_go_into_one_envelope_goes_into_the_next(tmp_path: Path) -> None:
    async def story(manager: Manager, stub: rpc.RaftTransportStub) -> None:
        peer = transport._Peer(Member(2, "n2", "127.0.0.1:9"), manager.node, None, "127.0.0.1:8")
        for index in range(3):
            entry = Entry(index + 1, 1, EntryKind.NORMAL, bytes(2 << 20))
            peer.put(
                Append(
                    sender=1,
                    to=2,
                    term=1,
                    prev_index=index,
                    prev_term=1,
                    commit=0,
                    entries=(entry,),
                )
            )
        indexes = []
        while peer._wake.is_set():
            envelope = peer._envelope()
            assert envelope.ByteSize() < 4 << 20
            indexes.append([each.append.prev_index for each in envelope.messages])
        assert indexes == [[0], [1], [2]]

    with_a_manager(tmp_path, story)


class Listening(rpc.RaftTransportServicer):
    """A peer that takes everything."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()

    async def Stream(self, requests: AsyncIterator[pb.RaftEnvelope], context: object) -> pb.RaftAck:
        async for envelope in requests:
            if envelope.messages:
                self.heard.set()
        return pb.RaftAck()


def test_a_peer_that_comes_back_is_not_kept_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    class Patient:
        def __init__(self, *_: float) -> None: ...

        def next(self) -> float:
            waits.append(3600.0)
            return 3600.0

        def reset(self) -> None: ...

    monkeypatch.setattr(transport, "Backoff", Patient)

    async def story(manager: Manager, stub: rpc.RaftTransportStub) -> None:
        server, peer = grpc.aio.server(), Listening()
        rpc.add_RaftTransportServicer_to_server(peer, server)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{taken.getsockname()[1]}"

        async def leading() -> AsyncIterator[pb.RaftEnvelope]:
            yield pb.RaftEnvelope(sender=2, address=address, messages=[HEARTBEAT])

        await stub.Stream(leading(), metadata=((NODE_KEY, "n2"),), timeout=30)
        await eventually(lambda: bool(waits))
        server.add_insecure_port(address)
        await server.start()
        await stub.Stream(leading(), metadata=((NODE_KEY, "n2"),), timeout=30)
        await asyncio.wait_for(peer.heard.wait(), 30)
        await server.stop(None)

    with_a_manager(tmp_path, story)


def test_a_stream_of_nobody_or_of_ourselves_is_refused(tmp_path: Path) -> None:
    async def story(manager: Manager, stub: rpc.RaftTransportStub) -> None:
        for sender in (0, 1):
            code, _ = await refusal(stub.Stream, "n2", pb.RaftEnvelope(sender=sender))
            assert code is grpc.StatusCode.INVALID_ARGUMENT

    with_a_manager(tmp_path, story)


def test_a_message_with_another_sender_than_its_stream_is_refused(tmp_path: Path) -> None:
    async def story(manager: Manager, stub: rpc.RaftTransportStub) -> None:
        envelope = pb.RaftEnvelope(sender=3, address="127.0.0.1:9", messages=[HEARTBEAT])
        code, _ = await refusal(stub.Stream, "n3", envelope)
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert manager.node.term == 0

    with_a_manager(tmp_path, story)


def test_nonsense_ends_the_stream_and_not_the_manager(tmp_path: Path) -> None:
    async def story(manager: Manager, stub: rpc.RaftTransportStub) -> None:
        envelope = pb.RaftEnvelope(sender=3, messages=[pb.RaftMessage(sender=3)])
        code, _ = await refusal(stub.Stream, "n3", envelope)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert not manager.node.failed.is_set()

    with_a_manager(tmp_path, story)


def test_a_snapshot_that_is_cut_off_or_too_long_is_refused(tmp_path: Path) -> None:
    async def story(manager: Manager, stub: rpc.RaftTransportStub) -> None:
        head = pb.RaftSnapshotChunk(
            sender=2, to=1, term=9, head=snapshots.encode_meta(SnapshotMeta(5, 3), 10)
        )
        for size in (9, 11):
            piece = pb.RaftSnapshotChunk(data=bytes(size))
            code, _ = await refusal(stub.InstallSnapshot, "n2", head, piece)
            assert code is grpc.StatusCode.INVALID_ARGUMENT
        huge = pb.RaftSnapshotChunk(
            sender=2, to=1, term=9, head=snapshots.encode_meta(SnapshotMeta(5, 3), 1 << 50)
        )
        code, _ = await refusal(stub.InstallSnapshot, "n2", huge)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        code, _ = await refusal(
            stub.InstallSnapshot, "n2", pb.RaftSnapshotChunk(sender=2, to=1, term=9, head=b"x")
        )
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert manager.node.term == 0

    with_a_manager(tmp_path, story)


def test_a_snapshot_goes_on_only_where_the_other_side_says_what_it_has(monkeypatch) -> None:
    class Call:
        def __init__(self, metadata: object) -> None:
            self._metadata = metadata

        async def initial_metadata(self) -> object:
            if self._metadata is None:
                await asyncio.Event().wait()
            return self._metadata

    monkeypatch.setattr(transport, "RESUME_SECONDS", 0.01)
    for metadata, has in (
        (None, 0),
        ((), 0),
        (((transport.ARRIVED_KEY, "17"),), 17),
        (((transport.ARRIVED_KEY, "-1"),), 0),
    ):
        assert asyncio.run(transport._has(Call(metadata))) == has


def test_a_snapshot_that_does_not_go_on_where_it_broke_off_is_refused(tmp_path: Path) -> None:
    async def story(manager: Manager, stub: rpc.RaftTransportStub) -> None:
        meta = snapshots.encode_meta(SnapshotMeta(5, 3), 10)
        head = pb.RaftSnapshotChunk(sender=2, to=1, term=9, head=meta)
        piece = pb.RaftSnapshotChunk(data=bytes(6))
        await refusal(stub.InstallSnapshot, "n2", head, piece)
        late = pb.RaftSnapshotChunk(data=bytes(4), offset=7)
        code, why = await refusal(stub.InstallSnapshot, "n2", head, late)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "does not go on where it broke off" in why
        # Another leader, or the same one in another term, begins anew.
        other = pb.RaftSnapshotChunk(sender=2, to=1, term=10, head=meta)
        rest = pb.RaftSnapshotChunk(data=bytes(4), offset=6)
        code, why = await refusal(stub.InstallSnapshot, "n2", other, rest)
        assert "does not go on where it broke off" in why
        assert manager.node.term == 0

    with_a_manager(tmp_path, story)
