"""Golden scripts: jobs and restarts on three nodes, in seconds that cost nothing.

job NAME TOTAL [max=N] [key=value..]      a replicated job
global-job NAME [key=value..]
service NAME REPLICAS [key=value..]
    condition=on-failure attempts=N window=S delay=S
ends NAME [SLOT] WORD                     its tasks that run end by themselves: complete|failed
run SECONDS
force NAME | scale NAME N | history N | node NAME down|up|drain|active|gone | add NODE
show NAME                                 job status, then each slot's tasks, oldest first
"""

from dataclasses import replace
from pathlib import Path

import pytest

from manager.control import view_of
from pyswarm.model import (
    Availability,
    Cluster,
    JobState,
    Node,
    NodeState,
    RestartCondition,
    RestartPolicy,
    Service,
    ServiceMode,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
)
from pyswarm.testing import golden
from pyswarm.testing.world import World

COMPLETE = TaskState.COMPLETE
SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.txt"))


class Stage:
    def __init__(self):
        self.world = World(3)
        self.endings = {}
        self.world.ends = self.ends

    def ends(self, task):
        words = self.endings
        found = words.get((task.service_name, task.slot), words.get((task.service_name, 0)))
        return found if task.status.state == TaskState.RUNNING else None

    def _create(self, name, mode, replicas, settings):
        given = dict(item.split("=") for item in settings)
        condition = given.get("condition", "on-failure" if mode.is_job else "any")
        policy = RestartPolicy(
            condition=RestartCondition[condition.upper().replace("-", "_")],
            delay_seconds=float(given.get("delay", 5)),
            max_attempts=int(given.get("attempts", 0)),
            window_seconds=float(given.get("window", 0)),
        )
        self.world.create(
            ServiceSpec(
                name=name,
                mode=mode,
                replicas=int(replicas),
                max_concurrent=int(given.get("max", 0)),
                task=TaskSpec(restart=policy),
            )
        )

    def job(self, name, total, *settings):
        self._create(name, ServiceMode.REPLICATED_JOB, total, settings)

    def global_job(self, name, *settings):
        self._create(name, ServiceMode.GLOBAL_JOB, 1, settings)

    def service(self, name, replicas, *settings):
        self._create(name, ServiceMode.REPLICATED, replicas, settings)

    def ends_(self, name, *rest):
        slot = int(rest[0]) if len(rest) > 1 else 0
        ending = None if rest[-1] == "never" else TaskState[rest[-1].upper()]
        self.endings[name, slot] = ending

    def run(self, seconds):
        self.world.run(int(seconds))

    def _service(self, name):
        return self.world.view.require(Service, f"id-{name}")

    def force(self, name):
        spec = self._service(name).spec
        task = replace(spec.task, force_update=spec.task.force_update + 1)
        self.world.change(f"id-{name}", replace(spec, task=task))

    def scale(self, name, count):
        spec = replace(self._service(name).spec, replicas=int(count))
        self.world.change(f"id-{name}", spec)

    def history(self, count):
        cluster = self.world.view.require(Cluster, "cluster")
        spec = replace(cluster.spec, task_history_limit=int(count))
        self.world.write(lambda tx: tx.put(replace(cluster, spec=spec)))

    def add(self, name):
        self.world.add_node(name, {})

    def node(self, name, word):
        match word:
            case "down":
                self.world.set_node(name, NodeState.DOWN)
            case "up":
                self.world.set_node(name, NodeState.READY)
            case "gone":
                self.world.write(lambda tx: tx.delete(Node, name))
            case _:
                self.world.set_node(name, availability=Availability[word.upper()])

    def show(self, name):
        world, service = self.world, self._service(name)
        counted = view_of.counted(world.view, service)
        lines = [f"{counted.running}/{counted.desired}"]
        if service.spec.mode.is_job:
            status = service.job_status
            lines[0] += f" ({counted.completed} completed)"
            lines[0] += f" iteration {status.iteration} {status.state.name.lower()}"
            lines[0] += f": {status.message}" if status.message else ""
        tasks = sorted(world.view.tasks_of_service(service.id), key=lambda t: t.id)
        for key in sorted({str(t.slot or t.node_id) for t in tasks}):
            for t in tasks:
                if str(t.slot or t.node_id) != key:
                    continue
                made = int(t.meta.created_at - 1000)
                last = f" starts {int(t.start_after - 1000)}" if t.start_after else ""
                lines.append(
                    f"{key} {t.id.lstrip('task-0')}@{t.node_id[5:] or '-'} "
                    f"{t.desired_state.name}/{t.status.state.name} made {made}{last}"
                )
        return "\n".join(lines)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path):
    stage = Stage()

    def answer(text):
        return "\n".join(filter(None, (_one(stage, line) for line in text.splitlines())))

    golden.run(path, answer)


def _one(stage, line):
    word, *rest = line.split()
    method = getattr(stage, {"ends": "ends_"}.get(word, word.replace("-", "_")))
    return method(*rest)


@pytest.mark.parametrize("condition", [RestartCondition.ON_FAILURE, RestartCondition.NONE])
def test_what_a_lost_node_completes_after_all_runs_again_if_anything_does(condition):
    """It was told to stop, and did not hear it."""
    w = World(2)
    task = TaskSpec(restart=RestartPolicy(condition=condition))
    s = w.create(ServiceSpec(name="sweep", mode=ServiceMode.GLOBAL_JOB, task=task))
    w.ends = lambda task: COMPLETE if task.node_id == "node-1" else None
    w.run(3)
    [lost] = [t for t in w.view.tasks_of_service(s) if t.node_id == "node-2"]
    w.set_node("node-2", NodeState.DOWN)
    w.run(3)
    lost = w.view.require(Task, lost.id)
    assert not lost.is_wanted
    w.write(lambda tx: tx.put(replace(lost, status=replace(lost.status, state=COMPLETE))))
    w.set_node("node-2", NodeState.READY)
    w.ends = lambda task: COMPLETE
    w.settle()
    again = condition != RestartCondition.NONE
    assert len(w.view.tasks_of_service(s)) == (3 if again else 2)
    assert w.service(s).job_status.state == (JobState.COMPLETED if again else JobState.FAILED)
