"""What images take in a real containerd, and what comes free when one goes."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from agent.images.collect import freed_bytes, total_bytes, unique_bytes
from agent.images.store import needs
from agent.runtime.inventory import Inventory
from agent.runtime.runtime import ContainerdRuntime
from pyswarm.daemon import interpreter
from pyswarm.testing import images
from pyswarm.testing.images import TestImage

Story = Callable[[ContainerdRuntime, Inventory], Awaitable[None]]


def run(node, story: Story) -> None:
    async def main() -> None:
        async with asyncio.timeout(120), node.runtime() as runtime:
            await story(runtime, runtime.inventory)

    interpreter.run(main())


def pushed(node, name: str, **files: str) -> str:
    images.push(node.stage.registry, name, TestImage(files=files))
    return f"{node.stage.registry}/{name}"


def test_an_image_is_measured_marked_and_removed_with_what_it_alone_has(node):
    names = [pushed(node, f"weigh:{i}", **{f"file{i}": f"{i}" * 200_000}) for i in (1, 2)]

    async def story(runtime: ContainerdRuntime, inventory: Inventory) -> None:
        begun = time.time()
        for name in names:
            await runtime.pull(name)
        wanted = needs(names)
        seen = {each.name: each for each in await inventory.images() if wanted.cover(each)}
        assert sorted(seen) == names
        for image in seen.values():
            assert begun - 2 < image.used_at <= time.time()
            assert sum(image.parts.values()) > 1_000_000, "busybox and its layers"
        unique = unique_bytes(list(seen.values()))
        assert all(200_000 < unique[name] < 600_000 for name in names), unique
        assert total_bytes(seen.values()) < sum(sum(i.parts.values()) for i in seen.values())

        await inventory.mark_used(names[0], begun + 1000)
        everything = await inventory.images()
        marked = next(i for i in everything if i.name == names[0])
        assert abs(marked.used_at - begun - 1000) < 0.01

        first = seen[names[0]]
        assert not await inventory.remove_image(first, lambda: False, last=True)
        assert await inventory.remove_image(first, lambda: True, last=True)
        assert not await inventory.remove_image(first, lambda: True, last=True)
        left = await inventory.images()
        assert first.name not in {each.name for each in left}
        assert total_bytes(left) == total_bytes(everything) - freed_bytes(everything, [first.name])
        layer = next(part for part in first.parts if part not in seen[names[1]].parts)
        assert await runtime.has_image(names[1])
        await runtime.pull(names[0])
        assert layer in {part for each in await inventory.images() for part in each.parts}

    run(node, story)


def test_a_container_is_measured_and_its_image_outlives_its_record(node):
    name = pushed(node, "used:1", used="1")
    request = node.request("sh", "-c", "head -c 300000 /dev/zero >/big; sleep 1000", image=name)

    async def story(runtime: ContainerdRuntime, inventory: Inventory) -> None:
        await runtime.pull(name)
        await runtime.create(request)
        await runtime.start(request.id)
        try:
            while True:
                [seen] = [
                    c for c in await inventory.container_disks(measured=True) if c.id == request.id
                ]
                if seen.size_bytes >= 300_000:
                    break
                await asyncio.sleep(0.05)
            assert (seen.image, seen.running) == (name, True)
            [image] = [i for i in await inventory.images() if i.name == name]
            assert await inventory.remove_image(image, lambda: True, last=True)
            code, output = await runtime.execute(request.id, ["sh", "-c", "cat /used"], 10.0)
            assert (code, output) == (0, b"1")
        finally:
            await runtime.delete(request.id)

    run(node, story)


def test_the_disk_is_that_of_the_snapshots(node):
    async def story(runtime: ContainerdRuntime, inventory: Inventory) -> None:
        disk = await inventory.disk()
        assert 0 < disk.used_bytes < disk.total_bytes

    run(node, story)
