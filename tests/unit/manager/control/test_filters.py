"""Words of `--filter`."""

import pytest

from manager.control.filters import Filters
from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    Service,
    ServiceMode,
    ServiceSpec,
    Task,
    TaskState,
    UpdateState,
    UpdateStatus,
)


def test_each_mode_is_found_by_its_word():
    services = [Service(id=mode.word, spec=ServiceSpec(mode=mode)) for mode in ServiceMode]
    for mode in ServiceMode:
        wanted = Filters(modes=(mode.word,))
        wanted.check()
        assert [s.id for s in services if wanted.service(s)] == [mode.word]
    with pytest.raises(InvalidArgument, match="replicated-job, global-job"):
        Filters(modes=("job",)).check()


def test_a_jobs_tasks_are_wanted_until_they_have_completed():
    states = (TaskState.READY, TaskState.RUNNING, TaskState.COMPLETE, TaskState.SHUTDOWN)
    for word, expected in (
        ("running", states[:2]),
        ("complete", states[2:3]),
        ("shutdown", states[3:]),
    ):
        wanted = Filters(desired_states=(word,))
        assert tuple(s for s in states if wanted.task(Task(desired_state=s))) == expected


def test_services_are_found_by_how_their_update_stands():
    wanted = Filters(update_states=("paused", "rollback_paused"))
    wanted.check()
    states = [UpdateState.PAUSED, UpdateState.ROLLBACK_PAUSED, UpdateState.UPDATING]
    found = [wanted.service(Service(update_status=UpdateStatus(state=s))) for s in states]
    assert found == [True, True, False]
    with pytest.raises(InvalidArgument, match="Invalid update filter: 'stuck', use one of none"):
        Filters(update_states=("stuck",)).check()
