from dataclasses import replace

from pyswarm.model import (
    Availability,
    Node,
    NodeState,
    Placement,
    RestartCondition,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    TaskState,
    UpdateConfig,
    UpdateState,
)
from pyswarm.testing.world import World


def spec(version=0, **task):
    return ServiceSpec(
        name="agent",
        mode=ServiceMode.GLOBAL,
        task=TaskSpec(force_update=version, **task),
        update=UpdateConfig(monitor_seconds=1),
    )


def nodes(w, s):
    return [t.node_id for t in w.running(s)]


def test_every_node_gets_one_and_a_new_node_too():
    w = World(2)
    s = w.create(spec())
    w.settle()
    assert nodes(w, s) == ["node-1", "node-2"]
    w.add_node("node-3", {})
    w.settle()
    assert nodes(w, s) == ["node-1", "node-2", "node-3"]


def test_only_nodes_that_fit_get_one_and_a_label_moves_it():
    w = World(2, {"node-1": {"edge": "yes"}})
    s = w.create(spec(placement=Placement(constraints=("node.labels.edge==yes",))))
    w.settle()
    assert nodes(w, s) == ["node-1"]
    for name, labels in (("node-1", {}), ("node-2", {"edge": "yes"})):
        node = w.view.require(Node, name)
        changed = replace(node, spec=replace(node.spec, labels=labels))
        w.write(lambda tx, n=changed: tx.put(n))
    w.settle()
    assert nodes(w, s) == ["node-2"]


def test_a_paused_node_neither_gets_nor_loses_one():
    w = World(2)
    w.set_node("node-2", availability=Availability.PAUSE)
    s = w.create(spec())
    w.settle()
    assert nodes(w, s) == ["node-1"]
    w.set_node("node-1", availability=Availability.PAUSE)
    w.settle()
    assert nodes(w, s) == ["node-1"]


def test_a_drained_node_loses_its_task_and_gets_it_back():
    w = World(2)
    s = w.create(spec())
    w.settle()
    w.set_node("node-1", availability=Availability.DRAIN)
    w.settle()
    assert nodes(w, s) == ["node-2"]
    w.set_node("node-1", availability=Availability.ACTIVE)
    w.settle()
    assert nodes(w, s) == ["node-1", "node-2"]


def test_a_node_that_was_down_keeps_its_task_when_it_returns():
    w = World(2)
    s = w.create(spec())
    w.settle()
    old = next(t.id for t in w.running(s) if t.node_id == "node-1")
    w.set_node("node-1", NodeState.DOWN)
    w.settle()
    assert nodes(w, s) == ["node-2"]
    w.set_node("node-1", NodeState.READY)
    w.settle()
    assert nodes(w, s) == ["node-1", "node-2"]
    assert old in [t.id for t in w.running(s)]


def test_a_removed_node_leaves_no_record():
    w = World(2)
    s = w.create(spec())
    w.settle()
    w.write(lambda tx: tx.delete(Node, "node-1"))
    w.settle()
    assert {t.node_id for t in w.view.tasks_of_service(s)} == {"node-2"}


def test_a_task_that_ended_is_restarted_on_its_node_as_the_policy_says():
    for condition, expected in ((RestartCondition.ANY, True), (RestartCondition.NONE, False)):
        w = World(2)
        s = w.create(spec(restart=RestartPolicy(condition=condition, delay_seconds=3)))
        w.settle()
        first = next(t.id for t in w.running(s) if t.node_id == "node-1")
        w.ends = lambda task, first=first: TaskState.FAILED if task.id == first else None
        w.settle()
        assert ("node-1" in nodes(w, s)) is expected


def test_an_update_goes_from_node_to_node():
    w = World(3)
    s = w.create(spec())
    w.settle()
    w.change(s, spec(1))
    fewest = 3
    while w.service(s).update_status.state == UpdateState.UPDATING:
        w.step()
        fewest = min(fewest, len(w.running(s)))
    assert fewest == 2
    assert [t.spec.force_update for t in w.running(s)] == [1, 1, 1]
