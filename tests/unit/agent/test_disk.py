from agent.disk import WorkerState
from pyswarm.model import EndpointSet, Node, Task, TaskState, TaskStatus
from pyswarm.wire import encode


def test_tasks_networks_and_managers_survive(tmp_path):
    state = WorkerState(tmp_path)
    task = Task(id="t1", slot=1, status=TaskStatus(state=TaskState.RUNNING))
    network = EndpointSet(network_id="n1", version=4)
    state.save_task(task)
    state.save_network("n1", encode(network))
    state.save_managers(["10.0.0.1:2377", "10.0.0.2:2377"])
    state.save_node(Node(id="me", index=3))
    again = WorkerState(tmp_path)
    assert again.tasks() == [task]
    assert again.networks() == [network]
    assert again.managers() == ("10.0.0.1:2377", "10.0.0.2:2377")
    assert again.node() == Node(id="me", index=3)


def test_what_is_dropped_is_gone(tmp_path):
    state = WorkerState(tmp_path)
    state.save_task(Task(id="t1"))
    state.drop_task("t1")
    state.drop_task("t1")
    state.drop_network("never")
    assert state.tasks() == []


def test_damaged_and_half_written_files_are_dropped(tmp_path):
    state = WorkerState(tmp_path)
    state.save_task(Task(id="t1"))
    (tmp_path / "tasks/t2").write_bytes(b"\xff\xff\xff")
    (tmp_path / "tasks/t3").write_bytes(b"")
    (tmp_path / "tasks/.t4.new").write_bytes(encode(Task(id="t4")))
    assert [task.id for task in state.tasks()] == ["t1"]
    assert not (tmp_path / "tasks/t2").exists()


def test_a_wipe_leaves_nothing(tmp_path):
    state = WorkerState(tmp_path)
    state.save_task(Task(id="t1"))
    state.save_managers(["a:1"])
    state.wipe()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
