"""What is allowed and may do harm all the same."""

from dataclasses import replace

from pyswarm.model import (
    ContainerSpec,
    Mount,
    MountType,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
    UpdateOrder,
)
from pyswarm.model.advice import warnings


def spec(**mount):
    container = ContainerSpec(mounts=(Mount(target="/data", **mount),))
    update = UpdateConfig(order=UpdateOrder.START_FIRST)
    return ServiceSpec(name="db", task=TaskSpec(container=container), update=update)


def test_two_tasks_that_write_to_one_volume_during_an_update_are_warned_of():
    (said,) = warnings(spec(source="data"))
    assert "two of its tasks write to the volume data" in said


def test_what_does_no_harm_is_not_warned_of():
    db = spec(source="data")
    assert warnings(replace(db, update=UpdateConfig(order=UpdateOrder.STOP_FIRST))) == []
    assert warnings(replace(db, mode=ServiceMode.REPLICATED_JOB)) == []
    assert warnings(spec(source="data", read_only=True)) == []
    assert warnings(spec()) == [], "a volume without a name is the task's own"
    assert warnings(spec(source="/data", type=MountType.BIND)) == []
