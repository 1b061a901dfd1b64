"""A whole dispatcher with two nodes, on virtual time: who is told what when a task shall stop."""

import asyncio
from contextlib import suppress
from dataclasses import replace

from manager.dispatcher.draining import BOUND_SECONDS
from manager.dispatcher.replies.server import DispatcherContext
from manager.dispatcher.server import Dispatcher
from manager.state.driver import Store
from pyswarm.api.v1 import dispatcher_pb2
from pyswarm.errors import SwarmError
from pyswarm.model import (
    Cluster,
    EndpointState,
    Network,
    NetworkAttachment,
    NetworkSpec,
    Node,
    NodeState,
    NodeStatus,
    Task,
    TaskState,
    TaskStatus,
)
from pyswarm.testing.plane.loop import ProcessLoop, Timeline
from pyswarm.testing.store import InstantLog

TASK = Task(
    id="t",
    service_id="web",
    node_id="n1",
    networks=(NetworkAttachment(network_id="net", address="10.0.1.3/24"),),
    status=TaskStatus(state=TaskState.RUNNING),
)
ADDRESS = NetworkAttachment(network_id="net", address="10.0.1.4/24")
OTHER = replace(TASK, id="u", node_id="n2", networks=(ADDRESS,))


class Stage:
    """`told` has (seconds, node, what) for each wish to stop and each draining endpoint."""

    def __init__(self, ahead=0.0):
        self.ahead = {"n1": 0.0, "n2": ahead}
        self.timeline = Timeline()
        self.loop = ProcessLoop(self.timeline)
        log = InstantLog()
        self.store = log.store = Store(log, self.loop.time)
        ids = iter(range(100))
        self.dispatcher = Dispatcher(
            DispatcherContext(
                store=self.store,
                caller=lambda context: context,
                leader_address=lambda: "",
                manager_addresses=list,
                new_id=lambda: f"session-{next(ids)}",
                clock=self.loop.wall,
                monotonic=self.loop.time,
            )
        )
        self.told = []
        self.sessions = {}
        self.silent = set()
        """Nodes that do not say what they have applied."""
        self.loop.start(self._lead(), "leader")
        self.timeline.run(0.5)

    async def _lead(self):
        def found(tx):
            tx.put(Cluster(id="cluster"))
            for number, name in enumerate(("n1", "n2"), 1):
                status = NodeStatus(state=NodeState.READY, address=f"192.0.2.{number}")
                tx.put(Node(id=name, index=number, status=status))
            tx.put(Network(id="net", spec=NetworkSpec(name="front"), subnet="10.0.1.0/24", vni=5))
            tx.put(TASK)
            tx.put(OTHER)

        await self.store.update(found)
        await self.dispatcher.open()
        for node in ("n1", "n2"):
            self.loop.create_task(self._listen(node))
            self.loop.create_task(self._beat(node))

    async def _beat(self, node):
        while True:
            await asyncio.sleep(0.5)
            if node in self.sessions:
                self.dispatcher._sessions.beat(node, self.sessions[node], self.loop.time())

    async def _listen(self, node):
        request = dispatcher_pb2.SessionRequest(clock=self.loop.wall() + self.ahead[node])
        with suppress(SwarmError):
            async for message in self.dispatcher.Session(request, node):
                if message.HasField("hello"):
                    self.sessions[node] = message.hello.session_id
                for task in message.assignments.tasks:
                    if task.desired_state > int(TaskState.RUNNING):
                        self._note(node, "stop")
                sets = [*message.endpoints.complete, *message.endpoints.deltas]
                for each in sets:
                    if any(t.state == EndpointState.DRAINING for t in each.tasks):
                        self._note(node, "draining")
                if sets and node not in self.silent:
                    await self._applied(node, sets[-1])

    def _note(self, node, what):
        self.told.append((round(self.loop.time() - self.since, 1), node, what))

    async def _applied(self, node, endpoints):
        version = getattr(endpoints, "results_in", 0) or endpoints.version
        applied = dispatcher_pb2.AppliedVersion(network_id="net", version=version)
        report = dispatcher_pb2.StatusReport(session_id=self.sessions[node], applied=[applied])
        await self.dispatcher.ReportStatus(report, node)

    def stop_task(self):
        self.since = self.loop.time()
        wish = replace(TASK, desired_state=TaskState.SHUTDOWN)
        self.loop.start(self.store.update(lambda tx: tx.put(wish)), "wish")

    def run(self, seconds):
        self.timeline.run(self.timeline.now + seconds)

    def when(self, node, what):
        return [at for at, *said in self.told if said == [node, what]]


def test_a_task_is_told_to_stop_after_every_node_has_applied_that_it_drains():
    stage = Stage()
    stage.stop_task()
    stage.run(1.0)
    assert [said for _, *said in stage.told] == [
        ["n1", "draining"],
        ["n2", "draining"],
        ["n1", "stop"],
    ]
    assert stage.when("n1", "stop")[0] < 0.3


def test_a_node_that_does_not_say_so_delays_the_stop_by_the_bound():
    stage = Stage()
    stage.silent.add("n2")
    stage.stop_task()
    stage.run(BOUND_SECONDS - 0.5)
    assert stage.when("n2", "draining")
    assert not stage.when("n1", "stop")
    stage.run(1.0)
    assert stage.when("n1", "stop") == [BOUND_SECONDS]


def test_a_node_that_is_found_down_meanwhile_is_not_waited_for():
    stage = Stage()
    stage.silent.add("n2")
    stage.sessions.pop("n2")
    stage.run(2.0)
    stage.stop_task()
    stage.run(BOUND_SECONDS)
    (at,) = stage.when("n1", "stop")
    assert at < BOUND_SECONDS - 1


def test_a_node_whose_clock_is_off_says_so_in_its_status():
    stage = Stage(ahead=-90.0)
    messages = {node.id: node.status.message for node in stage.store.view.list(Node)}
    wanted = "its clock is 90 s behind the leader's: set it, for instance with NTP"
    assert messages == {"n1": "", "n2": wanted}
