"""What a pull leaves in containerd: snapshots that images share, and nothing that is lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from agent.runtime.client import Containerd
from agent.runtime.images import Images
from pyswarm.daemon import interpreter
from pyswarm.errors import Unavailable
from pyswarm.registry.client import Registry
from pyswarm.testing import images as pushed
from pyswarm.testing.images import TestImage

SNAPSHOTTER = "overlayfs"


@asynccontextmanager
async def opened(stage, namespace: str) -> AsyncIterator[tuple[Containerd, Images]]:
    containerd, registry = Containerd(stage.socket, namespace=namespace), Registry(())
    try:
        await containerd.ensure_namespace()
        yield containerd, Images(containerd, registry, snapshotter=SNAPSHOTTER)
    finally:
        registry.close()
        await containerd.close()


def run(stage, story: Callable[[Containerd, Images], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(120), opened(stage, "layers") as (containerd, images):
            await story(containerd, images)
            # Whatever happened, no lease and no half-unpacked snapshot stays behind.
            assert not (await containerd.leases.List()).leases
            async for page in containerd.snapshots.List(snapshotter=SNAPSHOTTER):
                assert not [each.name for each in page.info if "unpack" in each.name]

    interpreter.run(main())


def test_pulls_at_the_same_time_agree_and_share_layers(node):
    registry = node.stage.registry
    names = [f"{registry}/shared:{index}" for index in range(3)]
    for index, name in enumerate(names):
        image = TestImage(files={f"top{index}": "x"})
        pushed.push(registry, name.partition("/")[2], image)

    async def story(containerd: Containerd, images: Images) -> None:
        pulled = await asyncio.gather(*(images.pull(name) for name in names * 3))
        assert pulled[:3] == pulled[3:6] == pulled[6:]
        parents = set()
        for image in pulled[:3]:
            stat = await containerd.snapshots.Stat(snapshotter=SNAPSHOTTER, key=image.chain_id)
            parents.add(stat.info.parent)
        assert len({image.chain_id for image in pulled}) == 3
        assert len(parents) == 1

    run(node.stage, story)


def test_an_image_outlives_the_collector(node):
    registry = node.stage.registry
    pushed.push(registry, "collected:1", TestImage(files={"e": "1"}))

    async def story(containerd: Containerd, images: Images) -> None:
        image = await images.pull(f"{registry}/collected:1")
        # The synchronous removal of a lease runs the collector to its end.
        lease = (await containerd.leases.Create(id="collect")).lease
        await containerd.leases.Delete(id=lease.id, sync=True)
        assert await images.get(f"{registry}/collected:1") == image

    run(node.stage, story)


def test_a_digest_that_came_by_a_tag_is_found(node):
    registry = node.stage.registry
    digest = pushed.push(registry, "both:1", TestImage(files={"b": "1"}))

    async def story(_: Containerd, images: Images) -> None:
        by_tag = await images.pull(f"{registry}/both:1")
        found = await images.get(f"{registry}/both@{digest}")
        assert found is not None
        assert found.chain_id == by_tag.chain_id

    run(node.stage, story)


def test_a_pull_that_is_cancelled_leaves_nothing_and_can_be_repeated(node):
    registry = node.stage.registry
    pushed.push(registry, "cancelled:1", TestImage(files={"big": "x" * 5_000_000}))
    name = f"{registry}/cancelled:1"

    async def story(_: Containerd, images: Images) -> None:
        for delay_seconds in (0.0, 0.01, 0.03, 0.1):
            try:
                async with asyncio.timeout(delay_seconds):
                    await images.pull(name)
            except TimeoutError:
                continue
        assert (await images.pull(name)).name == name

    run(node.stage, story)


def test_containerd_that_is_away_is_named_with_its_socket(tmp_path):
    async def main() -> None:
        containerd = Containerd(tmp_path / "no.sock")
        with pytest.raises(Unavailable) as caught:
            await containerd.version()
        await containerd.close()
        assert caught.value.message == (
            f"containerd does not answer at {tmp_path / 'no.sock'}: start it"
            " (systemctl start containerd)"
        )

    interpreter.run(main())
