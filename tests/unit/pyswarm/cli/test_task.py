"""`pyswarm task logs`, and the words for what is not there."""

import asyncio

import pytest

from pyswarm.api.v1 import control_pb2
from pyswarm.cli.connection import Connection
from pyswarm.cli.main import build_parser
from pyswarm.errors import InvalidArgument, NotFound
from pyswarm.model import Task
from pyswarm.wire import to_message


class Swarm(Connection):
    """A swarm with the service `web`, which has two tasks."""

    def __init__(self):
        self.control = self.scheduling = self.updates = self
        self.tasks = [
            Task(id=key, service_id="s", service_name="web", slot=slot)
            for slot, key in enumerate(("abc1", "abd2"), 1)
        ]
        self.asked = None

    async def call(self, answer):
        return await answer

    async def stream(self, answers):
        for each in answers:
            yield each

    async def ListTasks(self, request):
        names, ids = request.filters.names, request.filters.ids
        found = [
            to_message(task)
            for task in self.tasks
            if any(task.name.startswith(name) for name in names)
            or any(task.id.startswith(ref) for ref in ids)
        ]
        return control_pb2.TaskList(tasks=found)

    async def _missing(self, request):
        # As the managers say it.
        raise NotFound(f"object {request.ref} not found")

    GetService = GetTask = ExplainTask = ListRevisions = _missing

    def Logs(self, request):
        self.asked = request
        return []


def run(line, swarm=None):
    args = build_parser().parse_args(line.split())
    return asyncio.run(args.run(args, swarm or Swarm()))


@pytest.mark.parametrize("ref", ["web.1", "abc1", "abc", "web.1.abc1"])
def test_the_logs_of_a_task_are_had_by_its_id_or_its_slot(ref):
    swarm = Swarm()
    assert run(f"task logs -f --tail 3 {ref}", swarm) == 0
    assert list(swarm.asked.tasks) == ["abc1"]
    assert not swarm.asked.services
    assert (swarm.asked.follow, swarm.asked.tail) == (True, 3)


def test_a_beginning_that_two_tasks_have_is_not_enough():
    with pytest.raises(InvalidArgument, match="task ab is ambiguous"):
        run("task logs ab")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("task logs nosuch", "task"),
        ("task explain nosuch", "task or service"),
        ("stats --no-stream nosuch", "task"),
        ("service logs nosuch", "task or service"),
        ("service top --no-stream nosuch", "service"),
        ("service history nosuch", "service"),
        ("service update --force nosuch", "service"),
    ],
)
def test_what_is_not_there_is_named_in_dockers_words(line, what):
    with pytest.raises(NotFound) as error:
        run(line)
    assert error.value.message == f"no such {what}: nosuch"


def test_a_service_that_is_not_there_has_no_tasks_to_list(capsys):
    assert run("service ps nosuch") == 1
    assert capsys.readouterr().err == "Error: no such service: nosuch\n"
