"""Daemon, containerd and shim go away: containers live on, and nothing that they said is lost."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from agent.runtime import ContainerdRuntime
from pyswarm.daemon import interpreter
from pyswarm.errors import NotFound, Unavailable
from pyswarm.testing.containerd import wait_until


async def up(node, runtime, *command, **wishes):
    request = node.request(*command, **wishes)
    await runtime.pull(node.image)
    await runtime.create(request)
    return request.id, await runtime.start(request.id)


async def lines(runtime, container_id, **options):
    options = {"follow": False, "tail": -1, "since": 0.0} | options
    found = runtime.logs(container_id, **options)
    return [line.data async for line in found if line is not None]


def test_a_new_daemon_finds_the_container_with_its_pid_and_all_its_output(node):
    knock = "until [ -p /gate ]; do sleep 0.1; done; echo > /gate"
    text = "for i in $(seq 2000); do echo line $i; done; read x < /gate; echo after; exit 9"

    async def scenario():
        async with node.runtime() as runtime:
            made = await up(node, runtime, "sh", "-c", f"mkfifo /gate; {text}")
        # Nobody reads now: the rest of the lines waits in the pipe.
        container_id, pid = made
        async with node.runtime() as runtime:
            [seen] = await runtime.list()
            assert (seen.id, seen.pid, seen.started) == (container_id, pid, True)
            waiting = asyncio.ensure_future(runtime.wait(container_id))
            await runtime.execute(container_id, ["sh", "-c", knock], 30.0)
            assert (await waiting).exit_code == 9
            said = await lines(runtime, container_id, follow=True)
            await runtime.delete(container_id)
            return said

    said = interpreter.run(scenario())
    assert said == [*(f"line {i}".encode() for i in range(1, 2001)), b"after"]


def test_an_exit_while_no_daemon_runs_is_known_afterwards(node):
    async def scenario():
        async with node.runtime() as runtime:
            container_id, pid = await up(node, runtime, "sh", "-c", "sleep 0.5; exit 21")
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the container ends")
        async with node.runtime() as runtime:
            [seen] = await runtime.list()
            ended = await runtime.wait(container_id)
            await runtime.delete(container_id)
            return seen.exit_code, ended.exit_code

    assert interpreter.run(scenario()) == (21, 21)


def test_containers_and_their_watchers_survive_a_kill_of_containerd(node):
    async def scenario():
        async with node.runtime() as runtime:
            stays, pid = await up(node, runtime, "sh", "-c", "sleep 1000")
            ends, ending = await up(node, runtime, "sh", "-c", "read x < /dev/ptmx; exit 1")
            waits = [asyncio.ensure_future(runtime.wait(each)) for each in (stays, ends)]
            await asyncio.sleep(0)
            node.stage.kill_containerd()
            with pytest.raises(Unavailable, match=f"does not answer at {node.stage.socket}"):
                await runtime.describe()
            os.kill(ending, signal.SIGKILL)
            await asyncio.to_thread(node.stage.start_containerd)
            ended = await asyncio.wait_for(waits[1], 60)
            assert ended.exit_code == 137
            assert not waits[0].done()
            found = {seen.id: seen.pid for seen in await runtime.list()}
            assert found == {stays: pid, ends: 0}
            os.kill(pid, signal.SIGKILL)
            assert (await asyncio.wait_for(waits[0], 60)).exit_code == 137
            await runtime.delete(stays)
            await runtime.delete(ends)
            return await runtime.list()

    assert interpreter.run(scenario()) == []


def test_a_container_whose_shim_is_killed_is_gone_and_can_be_removed(node):
    async def scenario():
        async with node.runtime() as runtime:
            container_id, pid = await up(node, runtime, "sleep", "1000")
            status = Path(f"/proc/{pid}/status").read_text()
            shim = next(int(x.split()[1]) for x in status.splitlines() if x.startswith("PPid:"))
            waiting = asyncio.ensure_future(runtime.wait(container_id))
            await runtime.execute(container_id, ["true"], 30.0)
            os.kill(shim, signal.SIGKILL)
            try:
                ended = (await asyncio.wait_for(waiting, 60)).exit_code
            except NotFound:
                ended = 137
            await runtime.delete(container_id)
            wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the container is dead")
            return ended, await runtime.list()

    assert interpreter.run(scenario()) == (137, [])


def test_without_containerd_one_sentence_says_what_to_start(node, tmp_path):
    async def scenario():
        runtime = ContainerdRuntime(
            tmp_path / "none.sock",
            tmp_path / "state",
            tmp_path / "run",
            cgroup_parent=node.stage.cgroup_parent,
            insecure_registries=[],
        )
        await runtime.connect()
        try:
            with pytest.raises(Unavailable) as caught:
                await runtime.describe()
        finally:
            await runtime.close()
        return caught.value.message

    message = interpreter.run(scenario())
    assert message.startswith(f"containerd does not answer at {tmp_path}/none.sock: start it")
