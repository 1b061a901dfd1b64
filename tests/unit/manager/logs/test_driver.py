"""The broker: nodes answer, are slow, or go away; on virtual time."""

import asyncio

import pytest

from manager.logs.driver import SETTLE_SECONDS, SILENT_SECONDS, LogBroker
from pyswarm.api.v1 import control_pb2, dispatcher_pb2
from pyswarm.errors import NotLeader
from pyswarm.model import Task, TaskState, TaskStatus
from pyswarm.testing.plane.loop import ProcessLoop, Timeline

TASKS = [
    Task(id=f"t{n}", node_id=f"n{n}", slot=n, status=TaskStatus(state=TaskState.RUNNING))
    for n in (1, 2)
]


class Swarm:
    """Two nodes; `answers` are the lines (times) that a node has, None where it says nothing."""

    def __init__(self, **answers):
        self.answers = answers
        self.connected = {"n1", "n2"}
        self.asked = []
        self.answering = []
        self.broker = LogBroker(self.send, lambda: self.connected, lambda: "request")

    def send(self, node_id, subscription):
        if node_id not in self.connected:
            return False
        self.asked.append((node_id, subscription.since, subscription.close))
        if not subscription.close and self.answers[node_id] is not None:
            answer = self.broker.take(node_id, self.messages(node_id, subscription))
            self.answering.append(asyncio.ensure_future(answer))
        return True

    async def messages(self, node_id, subscription):
        lines = [
            control_pb2.LogLine(task_id=subscription.tasks[0], timestamp=time, data=b"%d" % time)
            for time in self.answers[node_id]
            if time >= subscription.since
        ]
        chunk = control_pb2.LogChunk(lines=lines)
        yield dispatcher_pb2.PublishedLogs(subscription_id=subscription.id, chunk=chunk)
        if subscription.follow:
            yield dispatcher_pb2.PublishedLogs(subscription_id=subscription.id, caught_up=True)
            await asyncio.sleep(1000)
        yield dispatcher_pb2.PublishedLogs(subscription_id=subscription.id, done=True)

    async def read(self, seconds=100.0, **request):
        """What a client sees: times of lines, and problems."""
        seen = self.seen = []
        reading = self.broker.read(
            lambda: TASKS, lambda node: node.upper(), control_pb2.LogsRequest(tail=-1, **request)
        )
        try:
            async with asyncio.timeout(seconds):
                async for chunk in reading:
                    seen += [chunk.problem] if chunk.problem else []
                    seen += [line.timestamp for line in chunk.lines]
        except TimeoutError:
            await reading.aclose()
        return seen, asyncio.get_running_loop().time()


def story(told):
    timeline = Timeline()
    task = ProcessLoop(timeline).start(told(), "story")
    timeline.run(600.0)
    return task.result()


def test_lines_of_two_nodes_are_merged():
    seen, _ = story(Swarm(n1=[1, 4, 5], n2=[2, 3, 6]).read)
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_node_that_is_not_connected_is_named_at_once():
    swarm = Swarm(n1=[1], n2=[2])
    swarm.connected = {"n1"}
    seen, took = story(swarm.read)
    assert seen == ["node N2 is not connected: the logs of 1 of its tasks are not shown", 1]
    assert took < 1


def test_a_node_that_says_nothing_is_named_and_holds_nobody_up():
    seen, took = story(Swarm(n1=[1, 2], n2=None).read)
    assert seen == ["node N2 does not answer: what it still has to say is not shown", 1, 2]
    assert SILENT_SECONDS <= took < SILENT_SECONDS + 3


def test_a_node_that_dies_is_named_at_once():
    swarm = Swarm(n1=[1], n2=None)

    async def told():
        reading = asyncio.ensure_future(swarm.read())
        await asyncio.sleep(2.0)
        swarm.broker.lost("n2")
        return await reading

    seen, took = story(told)
    assert seen == ["node N2 has gone away: what it still has to say is not shown", 1] or seen == [
        1,
        "node N2 has gone away: what it still has to say is not shown",
    ]
    assert took < 4


def test_who_follows_goes_on_with_a_node_that_comes_back():
    swarm = Swarm(n1=[1], n2=[2, 2])

    async def told():
        reading = asyncio.ensure_future(swarm.read(seconds=20.0, follow=True))
        await asyncio.sleep(3.0)
        swarm.connected = {"n1"}
        swarm.broker.lost("n2")
        await asyncio.sleep(3.0)
        swarm.answers["n2"] = [2, 2, 2, 7]
        swarm.connected = {"n1", "n2"}
        return await reading

    seen, _ = story(told)
    problem = "node N2 has gone away: what it still has to say is not shown"
    assert seen == [1, 2, 2, problem, 2, 7]
    assert ("n2", 2.0, False) in swarm.asked


def test_the_nodes_are_told_when_the_client_goes():
    swarm = Swarm(n1=[1], n2=[2])
    story(lambda: swarm.read(seconds=5.0, follow=True))
    assert [node for node, _, close in swarm.asked if close] == ["n1", "n2"]


def test_who_follows_is_cut_off_when_another_manager_leads():
    """It asks there, and hears of no node that would have gone away."""

    async def told():
        swarm = Swarm(n1=[1], n2=[2])
        asyncio.get_running_loop().call_later(20.0, swarm.broker.close)
        with pytest.raises(NotLeader):
            await swarm.read(follow=True)
        return swarm.seen, asyncio.get_running_loop().time()

    seen, took = story(told)
    assert seen == [1, 2]
    assert took < 22.0


def test_a_new_leader_waits_for_nodes_that_are_on_their_way():
    async def told():
        swarm = Swarm(n1=[1], n2=[2])
        swarm.connected = {"n1"}
        swarm.broker.open()
        asyncio.get_running_loop().call_later(1.0, swarm.connected.add, "n2")
        return await swarm.read()

    seen, took = story(told)
    assert seen == [1, 2]
    assert 1.0 <= took < 1.5


def test_a_new_leader_waits_for_them_for_a_moment_only():
    async def told():
        swarm = Swarm(n1=[1], n2=[2])
        swarm.connected = {"n1"}
        swarm.broker.open()
        return await swarm.read()

    seen, took = story(told)
    assert seen == ["node N2 is not connected: the logs of 1 of its tasks are not shown", 1]
    assert SETTLE_SECONDS <= took < SETTLE_SECONDS + 0.5
