import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace

from manager.allocator.driver import run as run_allocator
from manager.orchestrator.driver import run as run_orchestrator
from manager.scheduler.driver import run as run_scheduler
from pyswarm.errors import Unavailable
from pyswarm.model import (
    Cluster,
    Network,
    NetworkSpec,
    Node,
    NodeDescription,
    NodeState,
    NodeStatus,
    Placement,
    RestartPolicy,
    Service,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
)
from pyswarm.testing.store import instant_store

DEADLINE_SECONDS = 60


@asynccontextmanager
async def swarm(nodes=2):
    """A store with the three drivers at work on it."""
    store = instant_store(time.time)

    def begin(tx):
        tx.put(Cluster(id="cluster"))
        tx.put(Network(id="ingress", spec=NetworkSpec(name="ingress", ingress=True)))
        for number in range(nodes):
            description = NodeDescription(hostname=f"host-{number}")
            status = NodeStatus(state=NodeState.READY)
            tx.put(Node(id=f"n{number}", description=description, status=status))

    await store.update(begin)
    async with asyncio.TaskGroup() as group:
        runs = [run_allocator(store), run_orchestrator(store), run_scheduler(store)]
        tasks = [group.create_task(run) for run in runs]
        try:
            yield store
        finally:
            for task in tasks:
                task.cancel()


async def until(store, condition):
    with store.watch() as commits:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition(store.view):
                await commits.get()


def states(view):
    return Counter(task.status.state for task in view.list(Task))


def create(name, replicas, **task):
    spec = ServiceSpec(name=name, replicas=replicas, task=TaskSpec(**task))
    return lambda tx: tx.put(Service(id=name, spec=spec, spec_version=1))


def move(state, *ids):
    """What an agent reports."""

    def report(tx):
        for task in tx.view.list(Task):
            if (not ids or task.id in ids) and task.status.state < state:
                status = TaskStatus(state=state, timestamp=tx.now)
                tx.put(replace(task, status=status))

    return report


def test_a_service_becomes_assigned_tasks():
    async def story():
        async with swarm() as store:
            await store.update(create("web", 500))
            await until(store, lambda view: states(view) == {TaskState.ASSIGNED: 500})
            assert sorted(n.index for n in store.view.list(Node)) == [1, 2]
            assert {len(store.view.tasks_of_node(n)) for n in ("n0", "n1")} == {250}

    asyncio.run(story())


def test_a_failed_task_is_replaced_after_its_delay_without_any_other_change():
    async def story():
        async with swarm() as store:
            await store.update(create("web", 1, restart=RestartPolicy(delay_seconds=0.3)))
            await until(store, lambda view: states(view)[TaskState.ASSIGNED] == 1)
            await store.update(move(TaskState.FAILED))
            await until(store, lambda view: states(view)[TaskState.ASSIGNED] == 1)
            new = max(store.view.list(Task), key=lambda t: t.meta.created_at)
            assert new.status.timestamp >= new.start_after > 0

    asyncio.run(story())


def test_a_task_that_waits_for_a_node_is_placed_when_one_comes():
    async def story():
        async with swarm() as store:
            placement = Placement(constraints=("node.hostname==late",))
            await store.update(create("web", 1, placement=placement))
            await until(store, lambda view: any(t.status.error for t in view.list(Task)))
            description = NodeDescription(hostname="late")
            late = Node(
                id="late", description=description, status=NodeStatus(state=NodeState.READY)
            )
            await store.update(lambda tx: tx.put(late))
            await until(store, lambda view: states(view)[TaskState.ASSIGNED] == 1)

    asyncio.run(story())


def test_a_node_that_goes_down_loses_its_tasks_to_the_others():
    async def story():
        async with swarm() as store:
            await store.update(create("web", 4))
            await until(store, lambda view: states(view)[TaskState.ASSIGNED] == 4)
            await store.update(move(TaskState.RUNNING))
            down = replace(store.view.require(Node, "n0"), status=NodeStatus(state=NodeState.DOWN))
            await store.update(lambda tx: tx.put(down))
            await until(store, lambda view: len(view.tasks_of_node("n1")) == 4)

    asyncio.run(story())


def test_a_removed_service_goes_when_its_tasks_have_ended():
    async def story():
        async with swarm() as store:
            await store.update(create("web", 3))
            await until(store, lambda view: states(view)[TaskState.ASSIGNED] == 3)
            service = store.view.require(Service, "web")
            await store.update(lambda tx: tx.put(replace(service, pending_delete=True)))
            await until(
                store,
                lambda view: {t.desired_state for t in view.list(Task)} == {TaskState.REMOVE},
            )
            assert store.view.get(Service, "web") is not None
            await store.update(move(TaskState.SHUTDOWN))
            await until(store, lambda view: view.count(Task) == view.count(Service) == 0)

    asyncio.run(story())


def test_a_lost_proposal_is_made_again():
    async def story():
        async with swarm() as store:
            store.proposer.refusals += [Unavailable("lost")] * 3
            created = False
            while not created:
                try:
                    await store.update(create("web", 2))
                    created = True
                except Unavailable:
                    await asyncio.sleep(0)
            store.proposer.refusals += [Unavailable("lost")] * 2
            await until(store, lambda view: states(view)[TaskState.ASSIGNED] == 2)

    asyncio.run(story())
