"""Which task is meant, what may be run in it, and what is kept on record."""

import pytest

from manager.observe import audit
from pyswarm.api.v1 import observe_pb2
from pyswarm.errors import FailedPrecondition, InvalidArgument, NotFound
from pyswarm.model import ExecRecord, Meta, Task, TaskState, TaskStatus


def task(task_id, slot=1, state=TaskState.RUNNING, desired=TaskState.RUNNING, created=1.0):
    return Task(
        id=task_id,
        meta=Meta(created_at=created),
        service_id="s1",
        service_name="web",
        slot=slot,
        node_id="n1",
        status=TaskStatus(state=state),
        desired_state=desired,
    )


OLD = task("aaa1", state=TaskState.FAILED, desired=TaskState.SHUTDOWN)
LOST = task("aaa2", desired=TaskState.SHUTDOWN, created=3.0)  # its node is down
NEW = task("aab3", created=2.0)
OTHER = task("abb4", slot=2)
TASKS = [OLD, LOST, NEW, OTHER]


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("aaa1", OLD),
        ("web.1", NEW),
        ("WEB.1", NEW),
        ("web.2", OTHER),
        ("web.1.aaa2", LOST),
        ("aab", NEW),
        ("abb", OTHER),
    ],
)
def test_a_task_is_meant_by_id_name_slot_or_start_of_its_id(reference, found):
    assert audit.pick(TASKS, reference) is found


def test_the_start_of_several_ids_is_refused():
    with pytest.raises(InvalidArgument, match="ambiguous"):
        audit.pick(TASKS, "a")


@pytest.mark.parametrize("reference", ["web.3", "zzz", "", "web"])
def test_a_task_that_is_not_there_is_not_found(reference):
    with pytest.raises(NotFound, match="no such task"):
        audit.pick(TASKS, reference)


def test_the_name_of_a_service_is_answered_with_that_of_a_task():
    with pytest.raises(NotFound, match=r"web is a service, name a task such as web\.1"):
        audit.pick(TASKS, "web")


def test_nothing_runs_in_a_task_that_does_not():
    audit.require_running(NEW)
    with pytest.raises(FailedPrecondition, match=r"task web.1.aaa1 is not running \(it is failed"):
        audit.require_running(OLD)


@pytest.mark.parametrize(
    "wrong",
    [
        {"command": []},
        {"command": ["ls", "a\0b"]},
        {"command": ["x" * 300_000]},
        {"env": ["novalue"]},
        {"env": ["=x"]},
        {"working_directory": "here"},
    ],
)
def test_what_cannot_be_run_is_refused_before_a_node_is_asked(wrong):
    with pytest.raises(InvalidArgument):
        audit.check(observe_pb2.ExecStart(**{"task": "web.1", "command": ["ls"]} | wrong))


def test_the_record_has_the_command_but_not_the_environment():
    start = observe_pb2.ExecStart(
        command=["psql", "-c", "select"], env=["PGPASSWORD=hush"], user="db", asked_by="eve"
    )
    record = audit.begun("x", start, NEW, "m1", 5.0)
    assert record.command == ("psql", "-c", "select")
    assert (record.asked_by, record.manager_id, record.user) == ("eve", "m1", "db")
    assert (record.task_id, record.node_id, record.meta.created_at) == ("aab3", "n1", 5.0)
    assert "hush" not in repr(record)
    assert audit.ended(record, 3, "").exit_code == 3


def test_a_long_command_is_cut():
    start = observe_pb2.ExecStart(command=["echo", "x" * 5000, "y"])
    command = audit.begun("x", start, NEW, "m1", 5.0).command
    assert sum(map(len, command)) <= audit.COMMAND_CHARACTERS_MAX + 3
    assert command[-1] == "..."


def test_the_oldest_records_go_first_and_those_of_running_programs_last():
    def record(number, ended):
        return ExecRecord(id=f"{number:05}", meta=Meta(created_at=float(number)), ended=ended)

    full = [record(number, number > 2) for number in range(audit.RECORDS_MAX)]
    assert audit.too_old(full[1:]) == []
    assert audit.too_old(full) == ["00003"]
    running = [record(number, False) for number in range(audit.RECORDS_MAX)]
    assert audit.too_old(running) == ["00000"]
