from dataclasses import replace

import pytest

from manager.state import snapshot
from manager.state.changes import Chain, encode_set
from manager.state.snapshot import TaskRows, decode_snapshot, encode_again, encode_snapshot
from manager.state.store import Transaction, commit
from manager.state.tables import KINDS, View
from pyswarm.errors import DataLoss
from pyswarm.model import ContainerSpec, Service, ServiceSpec, Task, TaskSpec, Volume

SPEC = TaskSpec(container=ContainerSpec(image="nginx", env=("LONG=" + "x" * 4000,)))


def state(order):
    tx = Transaction(View(), 1.0)
    tx.put(Service(id="s", spec=ServiceSpec(name="web", task=SPEC), spec_version=1))
    for number in order:
        tx.put(Task(id=f"t{number}", service_id="s", spec=SPEC, spec_version=1, slot=number))
    view, _ = commit(View(), 1, encode_set(Chain(9, 1, 0), tx.encoded()[0]))
    return view


def test_the_order_of_writing_leaves_no_trace():
    assert encode_snapshot(state(range(1, 50))) == encode_snapshot(state(range(49, 0, -1)))


def test_rows_that_were_kept_leave_no_trace():
    kept = TaskRows()
    few, many, other = state(range(1, 5)), state(range(1, 200)), state(range(3, 100, 2))
    for view in (few, many, other, View(), many, many, few):
        assert encode_again(view, kept) == encode_snapshot(view)


def test_a_row_is_kept_while_its_task_is_the_same_object(monkeypatch):
    kept, view = TaskRows(), state(range(1, 50))
    encode_again(view, kept)
    tx = Transaction(view, 2.0)
    tx.put(replace(view.require(Task, "t7"), slot=700))
    tx.delete(Task, "t9")
    tx.put(Task(id="t90", service_id="s", spec=SPEC, spec_version=1, slot=90))
    after, _ = commit(view, 2, encode_set(Chain(10, 1, 1), tx.encoded()[0]))
    written = []
    of = snapshot.rows.Writers.of

    def watched(writers, kind):
        write = of(writers, kind)
        return lambda record: [written.append(record), write(record)][1]

    with monkeypatch.context() as patch:
        patch.setattr(snapshot.rows.Writers, "of", watched)
        data = encode_again(after, kept)
    assert {each.id for each in written if isinstance(each, Task)} == {"t7", "t90"}
    assert data == encode_snapshot(after)


def test_a_spec_is_stored_once_for_all_tasks_and_read_back_as_one_object():
    data = encode_snapshot(state(range(1, 50)))
    assert len(data) < 2 * 4000 + 50 * 300
    view = decode_snapshot(data)
    assert len({id(task.spec) for task in view.list(Task)}) == 1
    assert view.require(Service, "s").spec.task is view.require(Task, "t1").spec
    assert (view.version, view.epoch, view.sequence) == (1, 9, 1)


def test_damage_is_told():
    data = encode_snapshot(state([1]))
    for cut in (0, 10, 20, len(data) // 2, len(data) - 1):
        with pytest.raises(DataLoss):
            decode_snapshot(data[:cut])


def test_a_version_that_knows_more_kinds_reads_what_an_older_one_wrote(monkeypatch):
    older = {number: kind for number, kind in KINDS.items() if kind is not Volume}
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "KINDS", older)
        data = encode_snapshot(state([1]))
    view = decode_snapshot(data)
    assert view.require(Task, "t1").slot == 1
    assert view.list(Volume) == []
