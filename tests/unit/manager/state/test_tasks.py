"""Tasks are found by their id and by their service, whatever is done to them."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from manager.state.apply import Building
from manager.state.tasks import Tasks
from pyswarm.model import Task

_IDS = st.sampled_from([f"t{number}" for number in range(6)])
_STEPS = st.lists(
    st.one_of(_IDS, st.lists(st.builds(Task, id=_IDS, service_id=st.sampled_from("abc")))),
    max_size=12,
)


def _by_service(model):
    return {
        service: {key: task for key, task in model.items() if task.service_id == service}
        for service in {task.service_id for task in model.values()}
    }


def _built(tasks):
    building = Building()
    building.take(Task, list(tasks))
    return building.finish().tables[Task]


@given(_STEPS)
def test_any_history_is_that_of_a_dict_also_for_a_task_that_changes_its_service(steps):
    tasks, model = Tasks(), {}
    for step in steps:
        before, was = tasks, dict(model)
        if isinstance(step, str):
            if step in model:
                tasks = tasks.delete(step)
                del model[step]
        else:
            changing = tasks.mutate()
            for task in step:
                changing.put(task, changing.get(task.id))
                model[task.id] = task
                assert changing.get(task.id) is task
            tasks = changing.finish()
        assert dict(tasks) == model
        assert len(tasks) == len(model)
        assert {key: dict(own) for key, own in tasks.by_service.items()} == _by_service(model)
        assert dict(before) == was, "the one before stays as it was"
    built = _built(model.values())
    assert dict(built) == model
    for key in model:  # and what was built at once changes like any other
        changed = built.set(key, replace(model[key], slot=7))
        assert changed[key].slot == 7
        assert dict(built) == model


def test_a_reader_finds_tasks_of_all_services_and_no_others():
    made = [Task(id=f"t{number}", service_id="ab"[number % 2]) for number in range(6)]
    read = _built(made).reader()
    assert [read(task.id) for task in made] == made
    assert read("t9") is None
    assert read("t0") is made[0]
