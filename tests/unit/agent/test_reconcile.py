from agent.reconcile import Seen, reconcile
from agent.task_events import Found


def test_running_and_ended_containers_of_assigned_tasks_are_adopted():
    plan = reconcile({"a", "b"}, [Seen("ca", "a", True, 7), Seen("cb", "b", True, 0, 3)])
    assert plan.adopt == {"a": Found("ca", 7, None), "b": Found("cb", 0, 3)}
    assert plan.strays == ()


def test_containers_of_nobody_and_those_that_never_started_are_strays():
    unknown, created = Seen("cx", "x", True, 9), Seen("ca", "a", False)
    plan = reconcile({"a"}, [unknown, created])
    assert plan.adopt == {}
    assert plan.strays == (created, unknown)


def test_a_second_container_of_one_task_is_a_stray():
    plan = reconcile({"a"}, [Seen("c2", "a", True, 2), Seen("c1", "a", True, 1)])
    assert plan.adopt["a"].container_id == "c1"
    assert [s.container_id for s in plan.strays] == ["c2"]
