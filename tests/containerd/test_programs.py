"""Programs that somebody talks with, in a container of a real containerd."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from agent.executor.programs import CannotRun, ProgramRequest
from pyswarm.daemon import interpreter
from pyswarm.errors import FailedPrecondition, NotFound

pytestmark = pytest.mark.containerd

SLEEP = ("sleep", "4711")


@asynccontextmanager
async def container(node, runtime):
    """A container that runs for a while."""
    request = node.request("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")
    await runtime.pull(node.image)
    await runtime.create(request)
    await runtime.start(request.id)
    try:
        yield request.id
    finally:
        await runtime.delete(request.id)


async def said(program):
    """Everything that a program writes, and its exit code."""
    out = {False: b"", True: b""}
    async for piece in program.output():
        out[piece.stderr] += piece.data
    return out[False], out[True], await program.wait()


async def sleeps(runtime, container_id):
    _, output = await runtime.execute(container_id, ["ps"], 30.0)
    return b"4711" in output


def story(node, told):
    async def main():
        async with node.runtime() as runtime, container(node, runtime) as container_id:
            return await told(runtime, container_id)

    return interpreter.run(main())


def test_input_output_and_exit_code(node):
    data = bytes(range(256)) * 8000

    async def told(runtime, container_id):
        request = ProgramRequest(
            argv=("sh", "-c", "cat; echo $A >&2; exit 9"), env=("A=b",), stdin=True
        )
        program = await runtime.run(container_id, request)

        async def give():
            for begin in range(0, len(data), 32768):
                await program.write(data[begin : begin + 32768])
            await program.close_input()

        giving = asyncio.ensure_future(give())
        try:
            return await said(program)
        finally:
            await giving
            await program.close()

    assert story(node, told) == (data, b"b\n", 9)


def test_a_terminal_has_a_size_and_hears_of_another(node):
    async def told(runtime, container_id):
        # It listens before it speaks: its first word is answered by the new size.
        script = (
            "trap 'heard=1' WINCH; stty size;"
            ' until [ "$heard" ] && stty size | grep -q "^44 91"; do sleep 0.1; done; stty size'
        )
        request = ProgramRequest(argv=("sh", "-c", script), tty=True, rows=33, columns=90)
        program = await runtime.run(container_id, request)
        seen = b""
        async for piece in program.output():
            if not seen:
                await program.resize(44, 91)
            seen += piece.data
        await program.close()
        return seen

    # The first size may be asked for before or after the terminal has it: it is set with its start.
    seen = story(node, told)
    assert seen.endswith(b"44 91\r\n")


def test_what_runs_still_is_ended_by_closing_it(node):
    async def told(runtime, container_id):
        program = await runtime.run(container_id, ProgramRequest(argv=SLEEP))
        before = await sleeps(runtime, container_id)
        await program.close()
        return before, await sleeps(runtime, container_id)

    assert story(node, told) == (True, False)


def test_a_child_that_holds_the_output_open_is_not_waited_for(node):
    async def told(runtime, container_id):
        request = ProgramRequest(argv=("sh", "-c", "echo out; sleep 30 &"))
        program = await runtime.run(container_id, request)
        async with asyncio.timeout(15):
            found = await said(program)
        await program.close()
        return found

    assert story(node, told) == (b"out\n", b"", 0)


@pytest.mark.parametrize(
    ("wishes", "code"),
    [
        ({"argv": ("nope",)}, 127),
        ({"argv": ("/bin/nope",)}, 127),
        ({"argv": ("/etc/passwd",)}, 126),
        ({"argv": ("id",), "user": "nosuch"}, 126),
    ],
)
def test_what_cannot_be_run_has_the_exit_code_of_a_shell(node, wishes, code):
    async def told(runtime, container_id):
        with pytest.raises(CannotRun) as caught:
            await runtime.run(container_id, ProgramRequest(**wishes))
        return caught.value.exit_code

    assert story(node, told) == code


def test_nothing_runs_in_a_container_that_does_not(node):
    async def told(runtime, container_id):
        await runtime.kill(container_id, "SIGTERM")
        await runtime.wait(container_id)
        with pytest.raises(FailedPrecondition):
            await runtime.run(container_id, ProgramRequest(argv=("ls",)))
        with pytest.raises(NotFound):
            await runtime.use(container_id)

    story(node, told)


def test_the_next_daemon_ends_what_the_last_one_left_behind(node):
    async def main():
        async with node.runtime() as runtime:
            request = node.request("sh", "-c", "while :; do sleep 0.1; done")
            await runtime.pull(node.image)
            await runtime.create(request)
            await runtime.start(request.id)
            await runtime.run(request.id, ProgramRequest(argv=SLEEP, stdin=True))
            assert await sleeps(runtime, request.id)
        async with node.runtime() as runtime, asyncio.timeout(30):
            while await sleeps(runtime, request.id):
                await asyncio.sleep(0.1)
            await runtime.delete(request.id)

    interpreter.run(main())


def test_what_a_container_uses_is_read_from_its_cgroup(node):
    async def told(runtime, container_id):
        first = await runtime.use(container_id)
        await runtime.execute(container_id, ["sh", "-c", "head -c 20000000 /dev/zero | md5sum"], 60)
        return first, await runtime.use(container_id)

    first, second = story(node, told)
    assert second.cpu_seconds > first.cpu_seconds
    assert second.at > first.at
    assert first.memory_bytes > 0
    assert first.pids >= 1
