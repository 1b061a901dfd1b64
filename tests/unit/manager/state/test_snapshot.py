import pytest

from manager.state import snapshot
from manager.state.changes import Chain, encode_set
from manager.state.snapshot import decode_snapshot, encode_snapshot
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
