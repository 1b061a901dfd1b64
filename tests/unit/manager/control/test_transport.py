"""Where a call is answered: each case with two managers that are only as much as the call sees."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from manager.control import transport
from manager.control.transport import LeaderFirst
from pyswarm.api.v1 import (
    control_pb2,
    control_pb2_grpc,
    objects_pb2,
    observe_pb2,
    observe_pb2_grpc,
)
from pyswarm.errors import (
    AlreadyExists,
    DeadlineExceeded,
    NotLeader,
    SequenceConflict,
    SwarmError,
    Unavailable,
)
from pyswarm.rpc import ErrorMapper, Server, local_channel, swarm_errors

SERVICE = control_pb2.DESCRIPTOR.services_by_name["Control"]


OBSERVE = observe_pb2.DESCRIPTOR.services_by_name["Observe"]


class Node(control_pb2_grpc.ControlServicer, observe_pb2_grpc.ObserveServicer):
    """A manager: it answers with its name, or raises what `refusals` has for it first."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.leading = False
        self.leader: Node | None = None
        self.confirmed: list[SwarmError | None] = []
        self.refusals: list[SwarmError] = []
        self.on_refusal: Callable[[], object] = lambda: None
        self.calls: list[str] = []
        self.asked = 0
        """How often it looked for the leader."""
        self.heard = asyncio.Event()
        self.channel = local_channel(str(path))
        self.server = Server([ErrorMapper()])
        self.server.add_generic_rpc_handlers((self.handler(),))
        self.server.add_insecure_port(f"unix:{path}")

    def handler(self) -> LeaderFirst:
        return LeaderFirst(
            [(SERVICE, self), (OBSERVE, self)],
            lambda: self.leading,
            self.channel_to_leader,
            self.confirm,
        )

    def channel_to_leader(self) -> grpc.aio.Channel | None:
        self.asked += 1
        return self.leader.channel if self.leader is not None else None

    async def confirm(self, timeout: float) -> None:
        self.calls.append("confirm")
        if self.confirmed and (error := self.confirmed.pop(0)) is not None:
            raise error

    def _answer(self, call: str) -> str:
        self.calls.append(call)
        if self.refusals:
            self.on_refusal()
            raise self.refusals.pop(0)
        return self.name

    async def RemoveConfig(self, request, context):
        self.calls.append("silent")
        await self.heard.wait()
        return control_pb2.Empty()

    async def GetConfig(self, request, context):
        return objects_pb2.Config(id=self._answer("read"))

    async def ListNodes(self, request, context):
        return control_pb2.NodeList(nodes=[objects_pb2.Node(id=self._answer("read"))])

    async def UpdateConfig(self, request, context):
        return objects_pb2.Config(id=self._answer("write"))

    async def Exec(self, request_iterator, context):
        """Answers each input with the name and the input, and notes the end."""
        try:
            async for said in request_iterator:
                yield observe_pb2.ExecOutput(stdout=self._answer("both").encode() + said.stdin)
        finally:
            self.calls.append("over")

    async def Events(self, request, context):
        """Says its name, and then nothing more."""
        try:
            yield observe_pb2.EventBatch(events=[observe_pb2.Event(id=self._answer("follow"))])
            await self.heard.wait()
        finally:
            self.calls.append("over")

    async def CreateConfig(self, request, context):
        return control_pb2.Created(id=self._answer("write"))


@asynccontextmanager
async def two(tmp_path: Path):
    """A manager that leads, and one that knows it."""
    first, second = Node("leader", tmp_path / "1"), Node("follower", tmp_path / "2")
    first.leading, second.leader = True, first
    for each in (first, second):
        await each.server.start()
    try:
        yield first, second
    finally:
        for each in (first, second):
            await each.channel.close()
            await each.server.stop(None)


def story(tmp_path: Path, told: Callable[[Node, Node], Awaitable[None]]) -> None:
    async def main() -> None:
        async with two(tmp_path) as (first, second):
            await told(first, second)

    asyncio.run(main())


async def read(node: Node) -> str:
    with swarm_errors():
        stub = control_pb2_grpc.ControlStub(node.channel)
        return (await stub.GetConfig(control_pb2.Reference(ref="x"))).id


async def update(node: Node, version: int) -> str:
    request = control_pb2.UpdatePayloadRequest(id="x", version=version)
    with swarm_errors():
        return (await control_pb2_grpc.ControlStub(node.channel).UpdateConfig(request)).id


def test_a_read_is_answered_by_the_manager_that_is_asked(tmp_path: Path) -> None:
    async def told(leader: Node, follower: Node) -> None:
        assert await read(follower) == "follower"
        assert await read(leader) == "leader"
        assert follower.calls == leader.calls == ["confirm", "read"]

    story(tmp_path, told)


@pytest.mark.parametrize("error", [Unavailable("cut off"), DeadlineExceeded("far behind")])
def test_a_manager_that_cannot_be_sure_asks_the_leader(tmp_path: Path, error: SwarmError) -> None:
    async def told(leader: Node, follower: Node) -> None:
        follower.confirmed = [error]
        assert await read(follower) == "leader"
        assert leader.calls == ["confirm", "read"]

    story(tmp_path, told)


def test_a_deposed_leader_does_not_answer_from_what_it_remembers(tmp_path: Path) -> None:
    async def told(new: Node, old: Node) -> None:
        old.leading = True  # it has not heard of the new one yet
        old.confirmed = [Unavailable("no majority"), Unavailable("no majority")]
        asking = asyncio.ensure_future(read(old))
        while len(old.calls) < 2:
            await asyncio.sleep(0)
        old.leading = False
        assert await asking == "leader"
        assert "read" not in old.calls
        assert "read" in new.calls

    story(tmp_path, told)


def test_who_is_reachable_is_asked_of_the_leader(tmp_path: Path) -> None:
    async def told(leader: Node, follower: Node) -> None:
        with swarm_errors():
            stub = control_pb2_grpc.ControlStub(follower.channel)
            nodes = (await stub.ListNodes(control_pb2.ListRequest())).nodes
        assert [node.id for node in nodes] == ["leader"]
        assert leader.calls == ["confirm", "read"]

    story(tmp_path, told)


def test_a_write_goes_to_the_leader(tmp_path: Path) -> None:
    async def told(leader: Node, follower: Node) -> None:
        assert await update(follower, 1) == "leader"
        assert (leader.calls, follower.calls) == (["write"], [])

    story(tmp_path, told)


@pytest.mark.parametrize("version", [0, 1])
def test_what_did_not_take_effect_is_sent_again(tmp_path: Path, version: int) -> None:
    async def told(leader: Node, follower: Node) -> None:
        leader.refusals = [NotLeader()]
        assert await update(follower, version) == "leader"
        leader.refusals = [NotLeader(), SequenceConflict("changed")]
        with pytest.raises(SequenceConflict):
            await update(follower, version)

    story(tmp_path, told)


def test_a_leader_that_hands_over_sends_back_what_another_manager_has_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "SILENCE_SECONDS", 60.0)

    async def told(old: Node, follower: Node) -> None:
        new = Node("new", tmp_path / "3")
        new.leading = True
        await new.server.start()
        # While it stops it still answers; had it kept the call, that would end with its server.
        old.leading, old.leader = False, new
        asking = asyncio.ensure_future(update(follower, 1))
        while not follower.asked:
            await asyncio.sleep(0.001)
        follower.leader = new
        async with asyncio.timeout(10):
            assert await asking == "new"
        assert (old.calls, new.calls) == ([], ["write"])
        await new.channel.close()
        await new.server.stop(None)

    story(tmp_path, told)


@pytest.mark.parametrize(
    "refusal", [AlreadyExists("x exists"), SequenceConflict("changed")], ids=["made", "changed"]
)
def test_what_the_next_leader_refuses_may_be_what_the_last_one_did(
    tmp_path: Path, refusal: SwarmError
) -> None:
    async def told(old: Node, follower: Node) -> None:
        new = Node("new", tmp_path / "3")
        new.leading = True
        await new.server.start()
        old.refusals, new.refusals = [Unavailable("gone")], [refusal]
        old.on_refusal = lambda: setattr(follower, "leader", new)
        with pytest.raises((AlreadyExists, DeadlineExceeded), match=r"may be yours|is not known"):
            await update(follower, 1)
        assert (old.calls, new.calls) == (["write"], ["write"])
        await new.channel.close()
        await new.server.stop(None)

    story(tmp_path, told)


def test_an_update_that_may_have_taken_effect_is_not_refused_as_one_that_did_not(
    tmp_path: Path,
) -> None:
    async def told(leader: Node, follower: Node) -> None:
        leader.refusals = [Unavailable("gone"), SequenceConflict("changed")]
        with pytest.raises(DeadlineExceeded, match="whether the change took effect is not known"):
            await update(follower, 1)

    story(tmp_path, told)


def test_an_update_that_names_no_version_is_not_sent_twice(tmp_path: Path) -> None:
    async def told(leader: Node, follower: Node) -> None:
        leader.refusals = [Unavailable("gone")]
        with pytest.raises(Unavailable, match="gone"):
            await update(follower, 0)
        assert leader.calls == ["write"]

    story(tmp_path, told)


def test_what_is_there_already_may_be_ones_own(tmp_path: Path) -> None:
    async def told(leader: Node, follower: Node) -> None:
        leader.refusals = [Unavailable("gone"), AlreadyExists("x exists")]
        stub = control_pb2_grpc.ControlStub(follower.channel)
        with pytest.raises(AlreadyExists, match="so it may be yours"), swarm_errors():
            await stub.CreateConfig(control_pb2.CreatePayloadRequest())

    story(tmp_path, told)


def test_a_stream_in_both_directions_goes_to_the_leader(tmp_path: Path) -> None:
    async def told(leader: Node, follower: Node) -> None:
        for each in (leader, follower):
            call = observe_pb2_grpc.ObserveStub(each.channel).Exec()
            for text in (b" one", b" two"):
                await call.write(observe_pb2.ExecInput(stdin=text))
                answer = await call.read()
                assert answer.stdout == b"leader" + text, "answers come while the caller speaks"
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
        assert follower.calls == []

    story(tmp_path, told)


def test_the_leader_hears_that_the_caller_of_a_follower_has_gone(tmp_path: Path) -> None:
    async def told(leader: Node, follower: Node) -> None:
        call = observe_pb2_grpc.ObserveStub(follower.channel).Exec()
        await call.write(observe_pb2.ExecInput(stdin=b"x"))
        await call.read()
        call.cancel()
        while "over" not in leader.calls:
            await asyncio.sleep(0.01)

    story(tmp_path, told)


def test_a_refusal_passes_a_stream_in_both_directions(tmp_path: Path) -> None:
    async def told(leader: Node, follower: Node) -> None:
        leader.refusals = [SequenceConflict("changed")]
        call = observe_pb2_grpc.ObserveStub(follower.channel).Exec()
        await call.write(observe_pb2.ExecInput(stdin=b"x"))
        with pytest.raises(SequenceConflict), swarm_errors():
            async for _ in call:
                pass

    story(tmp_path, told)


def test_a_leader_that_was_cut_off_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "SILENCE_SECONDS", 0.01)

    async def told(old: Node, follower: Node) -> None:
        stub = control_pb2_grpc.ControlStub(follower.channel)
        removing = asyncio.ensure_future(stub.RemoveConfig(control_pb2.Reference(ref="x")))
        while not old.calls:
            await asyncio.sleep(0.001)
        # It hears nothing of the election, and its connection still seems to stand.
        new = Node("new", tmp_path / "3")
        await new.server.start()
        new.leading, follower.leader = True, new
        new.heard.set()
        await removing
        assert (old.calls, new.calls) == (["silent"], ["silent"])
        await new.channel.close()
        await new.server.stop(None)

    story(tmp_path, told)


@pytest.mark.parametrize("asked", ["leader", "follower"])
def test_who_follows_a_leader_that_leads_no_more_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setattr(transport, "SILENCE_SECONDS", 0.01)

    async def told(old: Node, other: Node) -> None:
        node = old if asked == "leader" else other
        call = observe_pb2_grpc.ObserveStub(node.channel).Events(observe_pb2.EventsRequest())
        assert (await call.read()).events[0].id == "leader"
        waiting = asyncio.ensure_future(call.read())
        await asyncio.sleep(0.1)
        assert not waiting.done(), "silence alone is no reason"
        old.leading, other.leading, other.leader = False, True, None
        with pytest.raises(NotLeader, match="another manager leads now"), swarm_errors():
            await waiting
        while "over" not in old.calls:
            await asyncio.sleep(0.001)

    story(tmp_path, told)


def test_a_stream_ends_with_what_the_leader_has_to_say(tmp_path: Path) -> None:
    async def told(leader: Node, follower: Node) -> None:
        leader.heard.set()
        for node in (leader, follower):
            call = observe_pb2_grpc.ObserveStub(node.channel).Events(observe_pb2.EventsRequest())
            with swarm_errors():
                names = [batch.events[0].id async for batch in call]
            assert names == ["leader"]
        leader.refusals = [SequenceConflict("changed")]
        call = observe_pb2_grpc.ObserveStub(follower.channel).Events(observe_pb2.EventsRequest())
        with pytest.raises(SequenceConflict), swarm_errors():
            await call.read()

    story(tmp_path, told)
