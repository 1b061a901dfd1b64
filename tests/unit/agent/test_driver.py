"""A whole agent against a scripted manager on real gRPC; containers and overlay are fakes."""

import asyncio
import contextlib
import os
from dataclasses import replace

import grpc.aio
import pytest

from agent.driver import Agent
from agent.executor.containers import TASK_LABEL, ContainerExit, ContainerSeen, OutputLine
from pyswarm.api.v1 import dispatcher_pb2 as pb
from pyswarm.errors import InvalidArgument, NotFound, PermissionDenied, Unavailable
from pyswarm.model import (
    Config,
    ContainerSpec,
    EndpointSet,
    EndpointState,
    FileReference,
    NetworkAttachment,
    NodeDescription,
    PayloadSpec,
    RegistryCredential,
    Secret,
    Task,
    TaskEndpoint,
    TaskSpec,
    TaskState,
    TaskStatus,
)
from pyswarm.registry.logins import Login
from pyswarm.testing.fake_overlay import FakeOverlay
from pyswarm.testing.scripted_dispatcher import ScriptedDispatcher
from pyswarm.wire import to_message


class FakeContainers:
    """Containers that live in a dictionary, longer than any agent."""

    def __init__(self):
        self.containers, self.exits, self.output, self.signals = {}, {}, {}, []
        self.away = False
        self.deaf = set()
        self.logins = []

    async def pull(self, image, login=None):
        if image == "nothing":
            raise InvalidArgument("there is no image nothing in the registry")
        if image == "closed:5000/web":
            self.logins.append(login)
            if login is None:
                raise PermissionDenied("the registry closed:5000 lets nobody read web")

    async def has_image(self, image):
        return image not in ("nothing", "closed:5000/web")

    async def healthcheck(self, image):
        return None

    async def create(self, request):
        self.containers[request.id] = request
        self.exits[request.id] = asyncio.get_running_loop().create_future()

    async def start(self, container_id):
        request = self.containers[container_id]
        self.containers[container_id] = (request, 100 + len(self.containers))
        self.output[container_id] = [OutputLine(timestamp=1.0, stderr=False, data=b"hello")]
        return self.containers[container_id][1]

    async def kill(self, container_id, signal):
        self.signals.append((container_id, signal))
        if container_id not in self.deaf or signal == "SIGKILL":
            self.exit(container_id, 137 if signal == "SIGKILL" else 143)

    def exit(self, container_id, code):
        self.exits[container_id].set_result(ContainerExit(exit_code=code))

    async def wait(self, container_id):
        if container_id not in self.exits:
            raise NotFound("no such container")
        return await asyncio.shield(self.exits[container_id])

    async def delete(self, container_id):
        self.containers.pop(container_id, None)
        self.exits.pop(container_id, None)

    async def list(self):
        if self.away:
            raise Unavailable("containerd does not answer")
        seen = []
        for key, value in self.containers.items():
            pid = value[1] if isinstance(value, tuple) else 0
            code = self.exits[key].result().exit_code if self.exits[key].done() else None
            labels = {TASK_LABEL: key}
            one = ContainerSeen(id=key, labels=labels, started=bool(pid), pid=pid, exit_code=code)
            seen.append(one)
        return seen

    async def execute(self, container_id, argv, timeout_seconds):
        return 0, b""

    async def logs(self, container_id, *, follow, tail, since, until):
        for line in self.output.get(container_id, []):
            yield line

    async def delete_logs(self, container_id):
        self.output.pop(container_id, None)


class Stage:
    """A manager, a node's containers and overlay; agents come and go."""

    def __init__(self, path):
        self.path = path
        self.manager = ScriptedDispatcher()
        self.containers, self.overlay = FakeContainers(), FakeOverlay()
        self.sequence = 0

    @contextlib.asynccontextmanager
    async def agent(self, connect=True):
        channels = []

        def channel(address):
            channels.append(grpc.aio.insecure_channel(address))
            return channels[-1]

        agent = Agent(
            "node",
            runtime=self.containers,
            overlay=self.overlay,
            state_directory=self.path / "state",
            run_directory=self.path / "run",
            describe=lambda: NodeDescription(hostname="alpha"),
            underlay_address="10.9.0.1",
            channels=channel,
            managers=lambda: [self.manager.address] if connect else ["127.0.0.1:1"],
        )
        await agent.start()
        try:
            yield agent
        finally:
            await agent.stop()
            for opened in channels:
                await opened.close()

    def assign(self, *tasks, complete=True, **more):
        kind = pb.Assignments.COMPLETE if complete else pb.Assignments.INCREMENTAL
        applies_to = 0 if complete else self.sequence
        self.sequence = applies_to + 1
        self.manager.send(
            assignments=pb.Assignments(
                kind=kind,
                applies_to=applies_to,
                results_in=self.sequence,
                tasks=[to_message(t) for t in tasks],
                **{
                    key: [v if isinstance(v, str) else to_message(v) for v in values]
                    for key, values in more.items()
                },
            )
        )

    def seen(self, task_id):
        """The last status of a task that the manager heard."""
        found = [u.status for r in self.manager.reports for u in r.updates if u.task_id == task_id]
        return found[-1] if found else None

    async def reaches(self, task_id, state):
        await until(lambda: (s := self.seen(task_id)) is not None and s.state == state)


async def until(condition, seconds=30.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def play(tmp_path, story):
    async def whole():
        stage = Stage(tmp_path)
        await stage.manager.start()
        try:
            await story(stage)
        finally:
            await stage.manager.stop()

    asyncio.run(whole())


def task(letter, **changes):
    container = changes.pop("container", ContainerSpec(image="web"))
    return Task(
        id=letter * 25,
        service_id="s1",
        service_name="web",
        slot=1,
        node_id="node",
        spec=TaskSpec(container=container),
        status=TaskStatus(state=TaskState.ASSIGNED),
        **changes,
    )


A, B = task("a"), task("b")


def test_a_task_is_run_reported_and_shut_down(tmp_path):
    async def story(stage):
        async with stage.agent() as agent:
            stage.assign(A)
            await stage.reaches(A.id, TaskState.RUNNING)
            assert stage.seen(A.id).container_id == A.id
            request = stage.containers.containers[A.id][0]
            assert request.labels["com.docker.swarm.task.name"] == f"web.1.{A.id}"
            assert request.namespace == f"/nowhere/{A.id}"
            assert agent.status().tasks == {TaskState.RUNNING: 1}
            stage.assign(replace(A, desired_state=TaskState.SHUTDOWN), complete=False)
            await stage.reaches(A.id, TaskState.SHUTDOWN)
            await until(lambda: not stage.overlay.namespaces)
            assert stage.containers.signals == [(A.id, "")]
            assert stage.containers.containers == {}
            assert A.id in stage.containers.output, "logs stay until the task is forgotten"
            stage.assign(complete=False, removed_tasks=[A.id])
            await until(lambda: A.id not in stage.containers.output)
            await until(lambda: agent.status().tasks == {})

    play(tmp_path, story)


def test_an_end_leaves_the_addresses_before_it_is_reported(tmp_path):
    async def story(stage):
        async with stage.agent():
            stage.assign(A)
            await stage.reaches(A.id, TaskState.RUNNING)
            stage.containers.exit(A.id, 3)
            await stage.reaches(A.id, TaskState.FAILED)
            assert stage.seen(A.id).error == "task: non-zero exit (3)"
            calls = [name for name, _ in stage.overlay.calls]
            assert calls.index("dead") < calls.index("detach")

    play(tmp_path, story)


def test_what_a_complete_message_does_not_name_is_stopped_and_removed(tmp_path):
    async def story(stage):
        async with stage.agent():
            stage.assign(A, B)
            await stage.reaches(A.id, TaskState.RUNNING)
            await stage.reaches(B.id, TaskState.RUNNING)
            stage.assign(B)
            await until(lambda: A.id not in stage.containers.containers)
            assert B.id in stage.containers.containers

    play(tmp_path, story)


def test_a_container_that_ignores_the_signal_is_killed_after_its_grace(tmp_path):
    async def story(stage):
        deaf = task("a", container=ContainerSpec(image="web", stop_grace_period_seconds=0.1))
        stage.containers.deaf.add(deaf.id)
        async with stage.agent():
            stage.assign(deaf)
            await stage.reaches(deaf.id, TaskState.RUNNING)
            stage.assign(replace(deaf, desired_state=TaskState.SHUTDOWN), complete=False)
            await stage.reaches(deaf.id, TaskState.SHUTDOWN)
            assert stage.containers.signals == [(deaf.id, ""), (deaf.id, "SIGKILL")]

    play(tmp_path, story)


def test_an_image_that_does_not_exist_rejects_the_task(tmp_path):
    async def story(stage):
        async with stage.agent():
            stage.assign(task("a", container=ContainerSpec(image="nothing")))
            await stage.reaches(A.id, TaskState.REJECTED)
            assert stage.seen(A.id).error == "there is no image nothing in the registry"

    play(tmp_path, story)


def test_a_restarted_agent_adopts_without_a_manager_and_reports_later(tmp_path):
    async def story(stage):
        async with stage.agent():
            stage.assign(A, B)
            await stage.reaches(A.id, TaskState.RUNNING)
            await stage.reaches(B.id, TaskState.RUNNING)
        containers = dict(stage.containers.containers)
        assert set(containers) == {A.id, B.id}, "containers survive the stop of the agent"
        stage.containers.exit(B.id, 1)
        async with stage.agent(connect=False) as agent:
            await until(lambda: agent.status().tasks.get(TaskState.FAILED) == 1)
            assert agent.status().tasks == {TaskState.RUNNING: 1, TaskState.FAILED: 1}
            assert stage.containers.containers[A.id] is containers[A.id]
        stage.manager.reports.clear()
        async with stage.agent():
            await stage.reaches(B.id, TaskState.FAILED)
            await stage.reaches(A.id, TaskState.RUNNING)

    play(tmp_path, story)


def test_strays_are_removed(tmp_path):
    async def story(stage):
        async with stage.agent():
            stage.assign(A)
            await stage.reaches(A.id, TaskState.RUNNING)
        for path in (tmp_path / "state/worker/tasks").iterdir():
            path.unlink()
        async with stage.agent(connect=False):
            await until(lambda: not stage.containers.containers)
            assert not stage.overlay.namespaces
            assert list((tmp_path / "run/tasks").iterdir()) == []

    play(tmp_path, story)


def test_a_session_is_opened_only_when_containers_can_run(tmp_path):
    async def story(stage):
        stage.containers.away = True
        async with stage.agent() as agent:
            assert agent.status().problem == "containerd does not answer"
            assert stage.manager.sessions == []
            stage.containers.away = False
            await until(lambda: agent.status().connected)
            assert agent.status().problem == ""

    play(tmp_path, story)


def test_a_task_waits_for_its_network_and_answers_what_somebody_waits_for(tmp_path):
    async def story(stage):
        attached = task("a", networks=(NetworkAttachment(network_id="n", address="10.0.0.2/24"),))
        async with stage.agent():
            stage.assign(attached)
            await stage.reaches(A.id, TaskState.PREPARING)
            drains = TaskEndpoint(task_id="z", state=EndpointState.DRAINING)
            endpoints = EndpointSet(network_id="n", version=9, tasks=(drains,))
            stage.manager.send(endpoints=pb.EndpointUpdate(complete=[to_message(endpoints)]))
            await stage.reaches(A.id, TaskState.RUNNING)
            applied = [(v.network_id, v.version) for r in stage.manager.reports for v in r.applied]
            assert ("n", 9) in applied
        stage.overlay.sets = ()
        async with stage.agent(connect=False):
            assert stage.overlay.sets == (endpoints,), "known again before any manager answers"

    play(tmp_path, story)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a tmpfs")
def test_a_task_with_a_secret_waits_for_it_and_leaves_no_trace_on_disk(tmp_path):
    async def story(stage):
        container = ContainerSpec(
            image="web",
            secrets=(FileReference(id="sec", name="password"),),
            configs=(FileReference(id="conf", name="site"),),
        )
        async with stage.agent():
            stage.assign(task("a", container=container))
            await stage.reaches(A.id, TaskState.ACCEPTED)
            stage.assign(
                complete=False,
                secrets=[Secret(id="sec", spec=PayloadSpec(data=b"hunter2"))],
                configs=[Config(id="conf", spec=PayloadSpec(data=b"x"))],
            )
            await stage.reaches(A.id, TaskState.RUNNING)
            on_disk = [p for p in (tmp_path / "state").rglob("*") if p.is_file()]
            assert not [p for p in on_disk if b"hunter2" in p.read_bytes()]
            stage.assign()
            await until(lambda: not any((tmp_path / "run/secrets").iterdir()))

    play(tmp_path, story)


def test_logs_of_living_dead_and_unknown_tasks(tmp_path):
    async def story(stage):
        async with stage.agent():
            stage.assign(A)
            await stage.reaches(A.id, TaskState.RUNNING)
            stage.containers.exit(A.id, 0)
            await stage.reaches(A.id, TaskState.COMPLETE)
            stage.manager.send(logs=pb.LogSubscription(id="sub", tasks=[A.id, "x"], tail=-1))
            await until(lambda: any(p.done for p in stage.manager.published))
            lines = [line for p in stage.manager.published for line in p.chunk.lines]
            assert [(x.task_id, x.service_id, x.data) for x in lines] == [(A.id, "s1", b"hello")]
            problems = [p.chunk.problem for p in stage.manager.published if p.chunk.problem]
            assert len(problems) == 1
            assert "task x is not on this node" in problems[0]

    play(tmp_path, story)


def test_a_wipe_leaves_nothing_but_named_volumes(tmp_path):
    async def story(stage):
        async with stage.agent() as agent:
            stage.assign(A)
            await stage.reaches(A.id, TaskState.RUNNING)
            await agent.stop(goodbye=True)
            assert stage.manager.beats[-1].goodbye
            await agent.wipe()
            assert stage.containers.containers == {}
            assert ("destroy", "") in stage.overlay.calls
            assert [p for p in tmp_path.rglob("*") if p.is_file()] == []

    play(tmp_path, story)


def leased(letter, seconds):
    made = task(letter)
    return replace(made, spec=replace(made.spec, stop_after_seconds=seconds))


def test_a_leased_task_runs_while_a_manager_answers_and_stops_without(tmp_path):
    async def story(stage):
        async with stage.agent():
            one = leased("a", 1.0)
            stage.assign(one, B)
            await stage.reaches(one.id, TaskState.RUNNING)
            asked = len(stage.manager.reports)
            await until(lambda: len(stage.manager.reports) > asked + 6)  # 1.5 s, a lease and a half
            assert one.id in stage.containers.containers
            await stage.manager.stop()
            await until(lambda: one.id not in stage.containers.containers)
            assert B.id in stage.containers.containers

    play(tmp_path, story)


def test_an_agent_that_starts_alone_counts_from_the_last_contact_of_the_one_before(tmp_path):
    async def story(stage):
        one = leased("a", 2.0)
        async with stage.agent():
            stage.assign(one)
            await stage.reaches(one.id, TaskState.RUNNING)
            await until(lambda: list(tmp_path.rglob("contact")))
            [contact] = tmp_path.rglob("contact")
        await stage.manager.stop()
        contact.write_text(repr(float(contact.read_text()) - 2.0))
        async with stage.agent():
            await until(lambda: one.id not in stage.containers.containers, 1.5)

    play(tmp_path, story)


def test_a_node_that_leaves_is_empty_before_it_is_gone(tmp_path):
    async def story(stage):
        async with stage.agent() as agent:
            stage.assign(A)
            await stage.reaches(A.id, TaskState.RUNNING)
            await agent.stop(goodbye=True)
            await agent.clear()
            assert stage.containers.containers == {}
            await agent.wipe()

    play(tmp_path, story)


CLOSED = task("a", container=ContainerSpec(image="closed:5000/web"))
LOGIN = RegistryCredential(id="c", server="closed:5000", user="ann", password="hunter2")


def test_a_login_is_shown_to_its_registry_and_leaves_no_trace_on_disk(tmp_path):
    async def story(stage):
        async with stage.agent() as agent:
            stage.assign(CLOSED, credentials=[LOGIN])
            await stage.reaches(A.id, TaskState.RUNNING)
            assert stage.containers.logins == [Login(user="ann", password="hunter2")]
            stage.assign(complete=False, removed_credentials=["c"])
            await until(lambda: not agent._assignments.credentials)
            on_disk = [p for p in (tmp_path / "state").rglob("*") if p.is_file()]
            assert any(b"closed:5000" in p.read_bytes() for p in on_disk)
            assert not [p for p in on_disk if b"hunter2" in p.read_bytes()]

    play(tmp_path, story)


def test_without_a_login_a_closed_registry_rejects_the_task(tmp_path):
    async def story(stage):
        async with stage.agent():
            stage.assign(CLOSED, credentials=[replace(LOGIN, server="other:5000")])
            await stage.reaches(A.id, TaskState.REJECTED)
            assert "lets nobody read web" in stage.seen(A.id).error

    play(tmp_path, story)


def test_a_restarted_agent_begins_nothing_before_a_manager_has_named_it_again(tmp_path):
    async def story(stage):
        async with stage.agent(connect=False) as agent:
            agent._save(CLOSED)
        async with stage.agent():
            await asyncio.sleep(0.1)
            stage.assign(CLOSED, credentials=[LOGIN])
            await stage.reaches(A.id, TaskState.RUNNING)
            assert stage.containers.logins == [Login(user="ann", password="hunter2")]

    play(tmp_path, story)
