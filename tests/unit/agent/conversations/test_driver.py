"""What a node does in a conversation, with a manager and a program that a test plays."""

import asyncio

from agent.conversations.client import (
    InputGiven,
    InputOver,
    Resized,
    RunAsked,
    Signalled,
    StatsAsked,
)
from agent.conversations.driver import Conversations
from agent.executor.programs import ProgramOutput, ProgramRequest, cannot_run
from pyswarm.aio import Pipe
from pyswarm.errors import Unavailable
from pyswarm.model import Task, TaskState, TaskStatus
from pyswarm.testing.fake_runtime import FakeRuntime

TASK = Task(id="t1", service_id="s1", status=TaskStatus(state=TaskState.RUNNING))


class Manager:
    """The manager's end: what it says comes out of `ask`; `heard` is what it was told."""

    def __init__(self, *asks):
        self.asks = Pipe(100)
        self.heard = []
        self.gone = asyncio.Event()
        self.closed = asyncio.Event()
        self.first, *rest = asks
        for each in rest:
            self.asks._items.append(each)

    async def begin(self):
        return self.first

    async def ask(self):
        return await anext(self.asks, None)

    async def over(self):
        await self.gone.wait()

    def hang_up(self):
        self.gone.set()
        self.asks.close()

    def tell(self, *words):
        if self.gone.is_set():
            raise Unavailable("the manager has gone")
        self.heard.append(words)

    async def started(self):
        self.tell("started")

    async def wrote(self, stderr, data):
        self.tell("err" if stderr else "out", data)

    async def took(self, inputs):
        self.tell("took", inputs)

    async def ended(self, exit_code, error=""):
        self.tell("ended", exit_code, error)

    async def uses(self, tasks):
        self.tell("uses", [each.task_id for each in tasks])

    async def refuse(self, message):
        self.tell("refused", message)

    async def finish(self):
        self.asks.close()

    async def close(self):
        self.closed.set()


class Program:
    """It writes what it reads in capitals and ends with its input; a deaf one reads nothing."""

    def __init__(self, deaf=False):
        self.deaf = deaf
        self.pieces = Pipe(100)
        self.notes = []
        self.code = asyncio.get_running_loop().create_future()

    def output(self):
        return self.pieces

    async def write(self, data):
        if self.deaf:
            await asyncio.Event().wait()
        await self.pieces.put(ProgramOutput(stderr=False, data=data.upper()))

    async def close_input(self):
        self.end(3)

    def end(self, code):
        self.pieces.close()
        self.code.set_result(code)

    async def resize(self, rows, columns):
        self.notes.append((rows, columns))

    async def signal(self, name):
        self.notes.append(name)
        self.end(130)

    async def wait(self):
        return await self.code

    async def close(self):
        self.notes.append("closed")


class Containers:
    def __init__(self, program):
        self.program = program

    async def run(self, container_id, request):
        if isinstance(self.program, Exception):
            raise self.program
        return self.program


def asked(detach=False):
    return RunAsked(task_id="t1", program=ProgramRequest(argv=("x",), stdin=True), detach=detach)


async def hold(manager, containers, tasks=(TASK,)):
    conversations = Conversations(containers, lambda _: manager, lambda: list(tasks))
    conversations.take("c1")
    return conversations


def test_a_program_hears_its_caller_and_is_heard():
    async def told():
        program = Program()
        manager = Manager(asked(), InputGiven(b"hello"), Resized(3, 4), InputOver())
        await hold(manager, Containers(program))
        await manager.closed.wait()
        return manager.heard, program.notes

    heard, notes = asyncio.run(told())
    assert heard[0] == ("started",)
    assert ("out", b"HELLO") in heard
    assert ("took", 1) in heard
    assert heard[-1] == ("ended", 3, "")
    assert notes == [(3, 4), "closed"]


def test_a_program_that_reads_nothing_hears_a_signal_all_the_same():
    async def told():
        program = Program(deaf=True)
        inputs = [InputGiven(b"x")] * 20
        manager = Manager(asked(), *inputs, Signalled("SIGINT"))
        await hold(manager, Containers(program))
        await manager.closed.wait()
        return manager.heard, program.notes

    heard, notes = asyncio.run(told())
    assert heard == [("started",), ("ended", 130, "")]
    assert notes == ["SIGINT", "closed"]


def test_a_program_ends_with_its_caller():
    async def told():
        program = Program(deaf=True)
        manager = Manager(asked(), InputGiven(b"x"))
        await hold(manager, Containers(program))
        await asyncio.sleep(0)
        manager.hang_up()
        await manager.closed.wait()
        return program.notes

    assert asyncio.run(told()) == ["closed"]


def test_a_detached_program_goes_on_without_a_caller():
    async def told():
        program = Program()
        manager = Manager(asked(detach=True))
        await hold(manager, Containers(program))
        for _ in range(20):
            await asyncio.sleep(0)
        manager.hang_up()
        for _ in range(20):
            await asyncio.sleep(0)
        before = list(program.notes)
        program.end(0)
        await manager.closed.wait()
        return before, program.notes

    assert asyncio.run(told()) == ([], ["closed"])


def test_what_cannot_be_run_is_told_with_its_exit_code():
    async def told(containers, tasks):
        manager = Manager(asked())
        await hold(manager, containers, tasks)
        await manager.closed.wait()
        return manager.heard

    missing = cannot_run('"x": executable file not found in $PATH')
    [(word, code, _)] = asyncio.run(told(Containers(missing), [TASK]))
    assert (word, code) == ("ended", 127)
    [(word, code, error)] = asyncio.run(told(Containers(missing), []))
    assert (word, code, error) == ("ended", 126, "task t1 is not on this node")


def test_what_tasks_use_is_told_for_those_that_run_and_are_asked_for():
    async def told(**wanted):
        runtime = FakeRuntime()
        tasks = [TASK, Task(id="t2", service_id="s2"), Task(id="gone", service_id="s1")]
        for task in tasks[:2]:
            runtime.containers[task.id] = type("Container", (), {"pid": 7})()
        ask = {"services": frozenset(), "tasks": frozenset(), "interval_seconds": 0.2} | wanted
        manager = Manager(StatsAsked(once=True, **ask))
        await hold(manager, runtime, tasks)
        await manager.closed.wait()
        return manager.heard

    assert asyncio.run(told()) == [("uses", ["t1", "t2"])]
    assert asyncio.run(told(services=frozenset(["s1"]))) == [("uses", ["t1"])]
    assert asyncio.run(told(tasks=frozenset(["t2"]))) == [("uses", ["t2"])]
