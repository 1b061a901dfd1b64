"""An agent that dies at any of its crash points, and the one that is started after it.

One life of four tasks is played. At every point that it reaches, the world outside the process is
copied as a kill would leave it: files, containers, places in the networks. Then an agent is started
in each of these worlds, and must bring it to what the manager wanted when the first one died.
"""

import asyncio
import contextlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import grpc.aio
import pytest

from agent.disk import WorkerState
from agent.driver import Agent
from pyswarm import crashpoints
from pyswarm.api.v1 import dispatcher_pb2 as pb
from pyswarm.model import (
    Config,
    ContainerSpec,
    EndpointSet,
    FileReference,
    NetworkAttachment,
    NodeDescription,
    PayloadSpec,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
)
from pyswarm.testing.fake_overlay import FakeOverlay
from pyswarm.testing.fake_runtime import FakeRuntime
from pyswarm.testing.scripted_dispatcher import ScriptedDispatcher
from pyswarm.wire import to_message

pytestmark = pytest.mark.slow

OURS = ("agent.", "task.", "worker.")
NETWORK = EndpointSet(network_id="n", version=1)


def task(letter, config="", **changes):
    configs = (FileReference(id=config, name="conf", signal="SIGURG"),) if config else ()
    return Task(
        id=letter * 25,
        service_id="s1",
        service_name="web",
        slot=1,
        node_id="node",
        spec=TaskSpec(container=ContainerSpec(image="web", configs=configs)),
        status=TaskStatus(state=TaskState.ASSIGNED),
        **changes,
    )


A = task("a", networks=(NetworkAttachment(network_id="n", address="10.0.0.2/24"),))
B, C, D = task("b", config="one"), task("c"), task("d")
B_ROTATED = task("b", config="two")


def config_of(each: Task) -> str:
    return "".join(r.id for r in each.spec.container.configs)


class World:
    """All that an agent leaves behind, and a manager that it talks to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runtime, self.overlay = FakeRuntime(), FakeOverlay()
        self.manager = ScriptedDispatcher()
        self.wanted: tuple[Task, ...] = ()

    @contextlib.asynccontextmanager
    async def agent(self):
        channels = []

        def channel(address):
            channels.append(grpc.aio.insecure_channel(address))
            return channels[-1]

        await self.manager.start()
        agent = Agent(
            "node",
            runtime=self.runtime,
            overlay=self.overlay,
            state_directory=self.path / "state",
            run_directory=self.path / "run",
            describe=lambda: NodeDescription(hostname="alpha"),
            underlay_address="10.9.0.1",
            channels=channel,
            managers=lambda: [self.manager.address],
        )
        await agent.start()
        try:
            yield agent
        finally:
            await agent.stop()
            for opened in channels:
                await opened.close()
            await self.manager.stop()

    def want(self, *tasks: Task) -> None:
        self.wanted = tasks
        self.manager.send(endpoints=pb.EndpointUpdate(complete=[to_message(NETWORK)]))
        complete = pb.Assignments(
            kind=pb.Assignments.COMPLETE,
            results_in=1,
            tasks=[to_message(t) for t in tasks],
            configs=[
                to_message(Config(id=key, spec=PayloadSpec(name="conf", data=key.encode())))
                for key in map(config_of, tasks)
                if key
            ],
        )
        self.manager.send(assignments=complete)

    def shows_what_is_wanted(self) -> bool:
        """Whether each container that runs has its task's version of the config."""
        folder = self.path / "run/tasks"
        return all(
            (folder / t.id / name).read_text() == config_of(t)
            for t in self.wanted
            for name in ("configs/single/0", "shown")
            if config_of(t) and t.id in self.running()
        ) and all(self.sees(t) for t in self.wanted if t.id in self.running())

    def sees(self, wanted: Task) -> bool:
        """Whether the container has its task's version, from its start or by a change."""
        container = self.runtime.containers[wanted.id]
        (first,) = container.request.container.configs or (FileReference(),)
        return container.changed.get("/conf", first.id.encode()).decode() == config_of(wanted)

    def states(self, task_id: str) -> list[int]:
        """Every state of a task that the manager heard, in order."""
        updates = [update for report in self.manager.reports for update in report.updates]
        return [update.status.state for update in updates if update.task_id == task_id]

    def has(self, wanted: Task, state: TaskState) -> bool:
        return self.states(wanted.id)[-1:] == [state]

    def running(self) -> dict[str, int]:
        """The pids of the containers that run."""
        containers = self.runtime.containers.items()
        return {key: c.pid for key, c in containers if c.pid and not c.ended.done()}

    def copy(self, path: Path) -> "World":
        other = World(path)
        for name in ("state", "run"):
            shutil.copytree(self.path / name, path / name)
        other.overlay.sets = ()
        other.overlay.namespaces = dict(self.overlay.namespaces)
        other.runtime.output = {key: list(lines) for key, lines in self.runtime.output.items()}
        other.runtime._pids = self.runtime._pids
        for key, container in self.runtime.containers.items():
            ended = asyncio.get_running_loop().create_future()
            if container.ended.done():
                ended.set_result(container.ended.result())
            copied = replace(container, ended=ended, changed=dict(container.changed))
            other.runtime.containers[key] = copied
        other.wanted = self.wanted
        return other


@dataclass
class Death:
    """The world at a crash point, and what was true then."""

    point: str
    world: World
    heard: dict[str, int]
    running: dict[str, int]
    started: set[str]
    saved: dict[str, int]


async def until(condition, seconds=60.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def a_life(world: World) -> None:
    """Four tasks run; one ends on its own, one is shut down, one is forgotten, one goes on with
    another version of its config."""
    async with world.agent():
        world.want(A, B, C, D)
        for each in (A, B, C, D):
            await until(lambda each=each: world.has(each, TaskState.RUNNING))
        world.runtime.end(C.id, 3)
        await until(lambda: world.has(C, TaskState.FAILED))
        world.want(replace(A, desired_state=TaskState.SHUTDOWN), B, C, D)
        await until(lambda: world.has(A, TaskState.SHUTDOWN))
        world.want(replace(A, desired_state=TaskState.SHUTDOWN), B_ROTATED, C, D)
        await until(world.shows_what_is_wanted)
        world.want(B_ROTATED)
        await until(lambda: set(world.runtime.output) == {B.id})
        await until(lambda: not world.overlay.namespaces.keys() - {B.id})


async def deaths_of(world: World, root: Path) -> list[Death]:
    found = []

    def at(point: str) -> None:
        # Half of a file is half of a file: a few of these say it all.
        few = point != "worker.draft-written" or len(found) % 8 == 0
        if point.startswith(OURS) and few:
            path = root / str(len(found))
            found.append(
                Death(
                    point,
                    world.copy(path),
                    {t.id: max(world.states(t.id), default=0) for t in (A, B, C, D)},
                    world.running(),
                    {what for name, what in world.runtime.calls if name == "start"},
                    {t.id: int(t.status.state) for t in WorkerState(path / "state/worker").tasks()},
                )
            )

    crashpoints.arm(at)
    try:
        await a_life(world)
    finally:
        crashpoints.arm(None)
    return found


async def next_life(death: Death) -> None:
    world = death.world
    wanted = {each.id: each for each in world.wanted}
    up = {key for key, each in wanted.items() if each.desired_state < TaskState.SHUTDOWN}
    async with world.agent():
        world.want(*world.wanted)

        def settled() -> bool:
            return (
                all(world.states(key) and world.states(key)[-1] >= TaskState.RUNNING for key in up)
                and world.running().keys() <= up
                and world.runtime.output.keys() <= wanted.keys()
                and world.overlay.namespaces.keys() == world.running().keys()
                and world.shows_what_is_wanted()
                and {p.name for p in (world.path / "run/tasks").iterdir()} == set(world.running())
            )

        await until(settled)
        assert wanted.keys() == {p.name for p in (world.path / "state/worker/tasks").iterdir()}
        ended_before = death.started - death.running.keys()
        for key, heard in death.heard.items():
            states = world.states(key)
            assert states == sorted(states), f"{key} went back"
            assert not states or states[-1] >= heard, f"{key}: the manager knew {heard} already"
        for key in up:
            if key in death.running:
                assert world.running().get(key) == death.running[key], f"{key} was disturbed"
            elif key in ended_before:
                assert world.states(key)[-1] == TaskState.FAILED, f"{key} ended, and ran again"
            elif key not in world.running():
                # It was about to start, and nobody can tell whether it did.
                assert death.saved[key] == TaskState.STARTING
                assert world.states(key)[-1] == TaskState.FAILED


def test_an_agent_that_died_at_any_point_is_followed_by_one_that_brings_order(tmp_path: Path):
    async def story() -> set[str]:
        deaths = await deaths_of(World(tmp_path / "first"), tmp_path)
        points = {death.point for death in deaths}
        crashpoints.arm(points.add)
        try:
            results = await asyncio.gather(*map(next_life, deaths), return_exceptions=True)
        finally:
            crashpoints.arm(None)
        for death, result in zip(deaths, results, strict=True):
            if isinstance(result, BaseException):
                result.add_note(f"the first agent died at {death.point}")
                raise result
        assert len(deaths) > 50
        return points

    ours = {name for name in crashpoints.POINTS if name.startswith(OURS)}
    assert ours <= asyncio.run(story())
