from dataclasses import replace

import pytest

from manager.state.changes import Chain, decode_chain, decode_changes, encode_set
from manager.state.store import Transaction, commit
from manager.state.tables import View
from pyswarm.errors import DataLoss
from pyswarm.model import (
    ContainerSpec,
    NetworkAttachment,
    Service,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
)

SPEC = TaskSpec(container=ContainerSpec(image="nginx", env=("LONG=" + "x" * 4000,)))
WEB = Service(id="s", spec=ServiceSpec(name="web", task=SPEC), spec_version=1)
TASK = Task(id="t", service_id="s", spec=SPEC, spec_version=1, slot=1)


def world():
    tx = Transaction(View(), 1.0)
    tx.put(WEB)
    tx.put(TASK)
    data = encode_set(Chain(1, 1, 0), tx.encoded()[0])
    view, _ = commit(View(), 1, data)
    return view, data


def test_the_spec_of_a_new_task_is_that_of_its_service_and_written_once():
    view, data = world()
    assert 4000 < len(data) < 8000
    assert view.require(Task, "t").spec is view.require(Service, "s").spec.task


def test_a_change_of_status_does_not_write_the_spec_again():
    view, _ = world()
    tx = Transaction(view, 2.0)
    task = tx.require(Task, "t")
    status = TaskStatus(state=TaskState.PENDING, timestamp=2.0, message="pending")
    attachment = NetworkAttachment(network_id="n", address="10.0.0.2/24", aliases=("a",))
    changed = replace(
        task,
        status=status,
        node_id="node",
        networks=(attachment,),
        start_after=9.5,
        desired_state=TaskState.SHUTDOWN,
    )
    tx.put(changed)
    data = encode_set(Chain(1, 2, 0), tx.encoded()[0])
    assert len(data) < 200
    after, _ = commit(view, 2, data)
    found = after.require(Task, "t")
    assert replace(found, meta=task.meta) == changed
    assert (found.meta.version, found.meta.created_at, found.meta.updated_at) == (2, 1.0, 2.0)
    assert found.spec is task.spec


def test_a_task_of_an_older_spec_carries_its_own():
    view, _ = world()
    tx = Transaction(view, 2.0)
    newer = replace(WEB, spec=replace(WEB.spec, task=replace(SPEC, force_update=1)), spec_version=2)
    tx.put(newer)
    tx.put(replace(TASK, id="t2"))
    after, _ = commit(view, 2, encode_set(Chain(1, 2, 0), tx.encoded()[0]))
    assert after.require(Task, "t2").spec == SPEC


def test_the_chain_is_read_back():
    chain = Chain(2**63 - 1, 7, 12345)
    assert decode_chain(encode_set(chain, [])) == chain


@pytest.mark.parametrize(
    "tail", [b"\x09\x01\x00\x00\x00\x00", b"\x01\x63\x00\x00\x00\x00", b"\x01"]
)
def test_an_unknown_change_is_a_loss_of_data_and_not_skipped(tail):
    with pytest.raises(DataLoss, match="change"):
        list(decode_changes(encode_set(Chain(1, 1, 0), [tail]), View))


def test_a_short_entry_is_not_a_change_set():
    with pytest.raises(DataLoss, match="not a change set"):
        decode_chain(b"short")
