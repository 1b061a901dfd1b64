"""The link against real gRPC servers on loopback."""

import asyncio
import contextlib

import grpc.aio

from agent.client import LogPiece
from agent.link.driver import Link, LinkSettings
from pyswarm.api.v1 import dispatcher_pb2 as pb
from pyswarm.model import EndpointSet, NodeDescription, Task, TaskState, TaskStatus
from pyswarm.testing.scripted_dispatcher import ScriptedDispatcher
from pyswarm.wire import to_message

RUNNING = TaskStatus(state=TaskState.RUNNING)


class Listener:
    def __init__(self):
        self.events, self.assignments, self.networks, self.asked = [], [], [], []
        self.fits = True

    def on_opened(self):
        self.events.append("opened")

    def on_closed(self):
        self.events.append("closed")

    def on_removed(self):
        self.events.append("removed")

    def on_hello(self, hello):
        self.events.append(f"hello {hello.node.id}")

    def on_assignments(self, news):
        self.assignments.append(news)
        return self.fits

    def on_networks(self, news):
        self.networks.append(news)
        return self.fits

    def on_ask(self, ask):
        self.asked.append(ask)

    def on_logs(self, asked):
        self.asked.append(asked)


async def until(condition, seconds=30.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def linked(*managers):
    channels = {}

    def channel(address):
        if address not in channels:
            options = [("grpc.max_reconnect_backoff_ms", 200)]
            channels[address] = grpc.aio.insecure_channel(address, options=options)
        return channels[address]

    listener = Listener()
    settings = LinkSettings(
        channels=channel,
        describe=lambda: NodeDescription(hostname="alpha"),
        underlay_address="10.9.0.1",
        managers=lambda: [m.address for m in managers],
    )
    for manager in managers:
        await manager.start()
    link = Link(settings, listener)
    link.start()
    try:
        yield link, listener
    finally:
        await link.stop()
        for manager in managers:
            await manager.stop()
        for opened in channels.values():
            await opened.close()


def statuses(manager):
    return [(u.task_id, u.status.state) for report in manager.reports for u in report.updates]


def test_a_session_brings_the_nodes_words_and_the_managers_news():
    async def story():
        manager = ScriptedDispatcher()
        async with linked(manager) as (link, listener):
            await until(lambda: link.connected)
            assert manager.sessions[0].description.hostname == "alpha"
            assert manager.sessions[0].address == "10.9.0.1"
            assert link.manager == manager.address
            await until(lambda: len(manager.beats) >= 3)
            manager.send(endpoints=pb.EndpointUpdate(complete=[to_message(EndpointSet())]))
            manager.send(assignments=pb.Assignments(results_in=1, tasks=[to_message(Task(id="a"))]))
            manager.send(
                assignments=pb.Assignments(
                    kind=pb.Assignments.INCREMENTAL, applies_to=1, results_in=2
                )
            )
            await until(lambda: len(listener.assignments) == 2)
            first, second = listener.assignments
            assert (first.complete, first.tasks) == (True, (Task(id="a"),))
            assert (second.complete, second.applies_to) == (False, 1)
            assert len(listener.networks) == 1
            assert listener.events == ["opened", "hello node"]

    asyncio.run(story())


def test_statuses_travel_in_batches_and_name_the_session():
    async def story():
        manager = ScriptedDispatcher()
        async with linked(manager) as (link, _):
            await until(lambda: link.connected)
            for number in range(50):
                link.status(f"task{number:02}", RUNNING)
            link.applied({"net": 7})
            await until(lambda: len(statuses(manager)) == 50)
            assert len(manager.reports) <= 2
            assert manager.reports[0].session_id == manager.beats[0].session_id
            await until(lambda: any(report.applied for report in manager.reports))

    asyncio.run(story())


def test_a_follower_leads_to_the_leader():
    async def story():
        leader, follower = ScriptedDispatcher(), ScriptedDispatcher()
        await leader.start()
        follower.leader = leader.address
        async with linked(follower) as (link, listener):
            await until(lambda: link.connected)
            assert link.manager == leader.address
            assert follower.sessions == []
            assert listener.events[0] == "opened"
        await leader.stop()

    asyncio.run(story())


def test_after_the_managers_death_the_next_one_is_told_everything():
    async def story():
        first, second = ScriptedDispatcher(), ScriptedDispatcher()
        await second.start()
        second.leader = ""
        first._managers = lambda: [first.address, second.address]
        async with linked(first, second) as (link, listener):
            await until(lambda: link.manager == first.address)
            link.status("t", RUNNING)
            await until(lambda: statuses(first))
            second.leader = None
            await first.stop()
            await until(lambda: link.manager == second.address)
            await until(lambda: statuses(second))
            assert statuses(second) == [("t", TaskState.RUNNING)]
            assert listener.events.count("opened") == 2
            assert listener.events.count("closed") == 1

    asyncio.run(story())


def test_a_manager_that_comes_back_is_found_again():
    async def story():
        manager = ScriptedDispatcher()
        async with linked(manager) as (link, _):
            await until(lambda: link.connected)
            port = int(manager.address.rpartition(":")[2])
            await manager.stop()
            await until(lambda: not link.connected)
            await manager.start(port)
            await until(lambda: link.connected)

    asyncio.run(story())


def test_a_message_that_does_not_fit_opens_a_new_session():
    async def story():
        manager = ScriptedDispatcher()
        async with linked(manager) as (link, listener):
            await until(lambda: link.connected)
            listener.fits = False
            manager.send(assignments=pb.Assignments(kind=pb.Assignments.INCREMENTAL, applies_to=9))
            await until(lambda: len(manager.sessions) == 2)
            listener.fits = True
            await until(lambda: link.connected)

    asyncio.run(story())


def test_a_goodbye_is_heard_and_no_new_session_follows():
    async def story():
        manager = ScriptedDispatcher()
        async with linked(manager) as (link, _):
            await until(lambda: link.connected)
            await link.stop(goodbye=True)
            assert manager.beats[-1].goodbye
            assert not link.connected
            assert len(manager.sessions) == 1

    asyncio.run(story())


def test_logs_are_published_with_their_end():
    async def story():
        manager = ScriptedDispatcher()

        async def pieces():
            yield LogPiece(problem="task x is not here")

        async with linked(manager) as (link, listener):
            await until(lambda: link.connected)
            manager.send(logs=pb.LogSubscription(id="sub", tasks=["x"], tail=-1))
            await until(lambda: listener.asked)
            await link.publish("sub", pieces())
            await until(lambda: len(manager.published) == 2)
            assert manager.published[0].chunk.problem == "task x is not here"
            assert manager.published[1].done

    asyncio.run(story())
