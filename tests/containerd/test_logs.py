"""Output of real containers: followed, rotated, cut and put together again."""

import asyncio

import pytest

from pyswarm.daemon import interpreter
from pyswarm.errors import NotFound
from pyswarm.model import Mount, MountType


async def ended(node, runtime, text, **wishes):
    request = node.request("sh", "-c", text, **wishes)
    await runtime.pull(node.image)
    await runtime.create(request)
    await runtime.start(request.id)
    await runtime.wait(request.id)
    await runtime.delete(request.id)
    return request.id


async def read(runtime, container_id, **options):
    options = {"follow": False, "tail": -1, "since": 0.0} | options
    return [line async for line in runtime.logs(container_id, **options) if line is not None]


def run(node, scenario):
    async def inside():
        async with node.runtime() as runtime:
            return await scenario(runtime)

    return interpreter.run(inside())


def test_logs_stay_when_the_container_is_deleted_until_they_are_deleted_too(node):
    async def scenario(runtime):
        container_id = await ended(node, runtime, "echo one; echo two >&2; printf three")
        found = await read(runtime, container_id)
        last = await read(runtime, container_id, tail=1)
        none = await read(runtime, container_id, since=found[-1].timestamp + 1)
        await runtime.delete_logs(container_id)
        with pytest.raises(NotFound):
            await read(runtime, container_id)
        return found, last, none

    found, last, none = run(node, scenario)
    assert sorted((line.stderr, line.data) for line in found) == [
        (False, b"one"),
        (False, b"three"),
        (True, b"two"),
    ]
    assert len(last) == 1
    assert none == []


def test_lines_are_read_up_to_a_time_and_the_tail_is_of_those(node):
    async def scenario(runtime):
        container_id = await ended(node, runtime, "for i in 1 2 3 4; do echo $i; sleep 0.05; done")
        found = await read(runtime, container_id)
        until = found[2].timestamp
        return (
            await read(runtime, container_id, until=until),
            await read(runtime, container_id, until=until, tail=2),
            await read(runtime, container_id, until=until, follow=True),
        )

    whole, last, followed = run(node, scenario)
    assert [line.data for line in whole] == [b"1", b"2", b"3"]
    assert last == whole[1:]
    assert followed == whole


def test_a_follower_hears_each_line_as_it_comes_and_then_the_end(node):
    gate = node.stage.directory / "gate"
    gate.mkdir()
    mount = Mount(type=MountType.BIND, source=str(gate), target="/gate")
    text = "for word in a b; do until [ -e /gate/$word ]; do sleep 0.05; done; echo got $word; done"

    async def scenario(runtime):
        request = node.request("sh", "-c", text, mounts=[mount])
        await runtime.pull(node.image)
        await runtime.create(request)
        await runtime.start(request.id)
        heard = []
        (gate / "a").touch()
        try:
            async with asyncio.timeout(60):
                async for line in runtime.logs(request.id, follow=True, tail=-1, since=0.0):
                    if line is not None:  # what follows that is new
                        heard.append(line.data)
                        (gate / "b").touch()
        finally:
            await runtime.delete(request.id)
        return heard

    assert run(node, scenario) == [b"got a", b"got b"]


def test_output_is_rotated_and_the_newest_is_kept(node):
    options = {"max-size": "20k", "max-file": "2"}

    async def scenario(runtime):
        text = "for i in $(seq 3000); do echo line $i; done"
        container_id = await ended(node, runtime, text, log_options=options)
        directory = node.stage.directory / "state" / "logs" / container_id
        sizes = {path.name: path.stat().st_size for path in directory.glob("output.log*")}
        return sizes, await read(runtime, container_id)

    sizes, found = run(node, scenario)
    assert len(sizes) == 2
    assert max(sizes.values()) <= 20 << 10
    numbers = [int(line.data.split()[1]) for line in found]
    assert numbers == list(range(numbers[0], 3001))


def test_a_very_long_line_comes_back_as_one(node):
    async def scenario(runtime):
        text = "head -c 100000 /dev/zero | tr '\\0' x; echo; echo short"
        return await read(runtime, await ended(node, runtime, text))

    assert [len(line.data) for line in run(node, scenario)] == [100000, 5]


def test_a_flood_arrives_whole(node):
    async def scenario(runtime):
        text = "seq 200000"
        container_id = await ended(node, runtime, text, log_options={"max-size": "100m"})
        return await read(runtime, container_id)

    assert [int(line.data) for line in run(node, scenario)] == list(range(1, 200001))
