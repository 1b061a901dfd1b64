"""The keeper: what it removes, and what it leaves although its plan said otherwise."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent.images.disk import VolumeFolders
from agent.images.driver import ImageKeeper, KeeperContext
from agent.images.store import ContainerDisk, Disk, ImageSeen
from pyswarm.api.v1 import system_pb2
from pyswarm.model import (
    ContainerSpec,
    ImagePolicy,
    Mount,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
)

AT_ONCE = ImagePolicy(max_age_seconds=1, grace_seconds=0, disk_high_percent=0, disk_low_percent=0)
LONG_AGO = 1000.0


class Store:
    """Images and containers in memory; `before_removal` is called at the last moment."""

    def __init__(self, *names: str) -> None:
        self.known = {name: image(name) for name in names}
        self.containers: list[ContainerDisk] = []
        self.before_removal: Callable[[str], None] = lambda name: None

    async def images(self) -> Sequence[ImageSeen]:
        return list(self.known.values())

    async def container_disks(self, *, measured: bool) -> Sequence[ContainerDisk]:
        return self.containers

    async def mark_used(self, name: str, now: float) -> None:
        old = self.known[name]
        self.known[name] = ImageSeen(
            name=name, digest=old.digest, parts=old.parts, created_at=LONG_AGO, used_at=now
        )

    async def remove_image(self, image: ImageSeen, still: Callable[[], bool], last: bool) -> bool:
        self.before_removal(image.name)
        if not still():
            return False
        del self.known[image.name]
        return True

    async def disk(self) -> Disk:
        return Disk()


def image(name: str) -> ImageSeen:
    return ImageSeen(
        name=name,
        digest=f"sha256:{name}",
        parts={"base": 100, name: 10},
        created_at=LONG_AGO,
        used_at=LONG_AGO,
    )


def task(name: str, state: TaskState = TaskState.RUNNING, *mounts: Mount) -> Task:
    container = ContainerSpec(image=name, mounts=mounts)
    return Task(id="t1", spec=TaskSpec(container=container), status=TaskStatus(state=state))


def kept(
    store: Store,
    tasks: Mapping[str, Task],
    folder: Path,
    discarded: list[str] | None = None,
    informed: bool = True,
) -> ImageKeeper:
    async def discard(task_id: str) -> None:
        if discarded is not None:
            discarded.append(task_id)

    context = KeeperContext(tasks=lambda: tasks, informed=lambda: informed, discard=discard)
    return ImageKeeper(store, VolumeFolders(folder), context)


def collected(keeper: ImageKeeper, done: Callable[[], bool]) -> None:
    async def main() -> None:
        running = asyncio.ensure_future(keeper.run())
        keeper.set_policy(AT_ONCE)
        async with asyncio.timeout(30):
            while not done():
                await asyncio.sleep(0)
        running.cancel()

    asyncio.run(main())


WEB, OLD = "docker.io/library/web:1", "docker.io/library/old:1"


def test_an_old_image_goes_and_one_that_a_task_needs_stays(tmp_path: Path) -> None:
    store = Store(WEB, OLD)
    for state in (TaskState.ASSIGNED, TaskState.RUNNING):
        store.known[OLD] = image(OLD)
        keeper = kept(store, {"t1": task("web:1", state)}, tmp_path)
        collected(keeper, lambda: OLD not in store.known)
        assert WEB in store.known


def test_nothing_goes_before_a_manager_has_said_what_runs(
    tmp_path: Path,
) -> None:
    store = Store(OLD)

    async def main() -> None:
        await kept(store, {}, tmp_path)._collect()
        early = kept(store, {}, tmp_path, informed=False)
        early.set_policy(AT_ONCE)
        await early._collect()

    asyncio.run(main())
    assert OLD in store.known


def test_a_task_that_comes_at_the_last_moment_keeps_its_image(tmp_path: Path) -> None:
    store, tasks, looked = Store(OLD), dict[str, Task](), list[str]()

    def assign(name: str) -> None:
        tasks["t1"] = task("old:1", TaskState.ASSIGNED)
        looked.append(name)

    store.before_removal = assign
    collected(kept(store, tasks, tmp_path), lambda: bool(looked))
    assert OLD in store.known


def test_an_ended_task_needs_its_image_no_more_but_its_end_counts_as_use(tmp_path: Path) -> None:
    store, tasks = Store(WEB), {"t1": task("web:1")}
    keeper = kept(store, tasks, tmp_path)
    collected(keeper, lambda: store.known[WEB].used_at > LONG_AGO)
    tasks["t1"] = task("web:1", TaskState.SHUTDOWN)
    assert time.time() - store.known[WEB].used_at < 100

    async def pruned() -> list[str]:
        answer = await keeper.prune(system_pb2.PruneRequest(all=True))
        return list(answer.prune.images)

    assert asyncio.run(pruned()) == [WEB]


def test_usage_counts_what_is_shared_once_and_names_who_uses_what(tmp_path: Path) -> None:
    store = Store(WEB, OLD)
    store.containers = [_container("t1", "web:1")]
    (tmp_path / "volumes" / "data" / "_data").mkdir(parents=True)
    (tmp_path / "volumes" / "data" / "_data" / "file").write_bytes(b"x" * 5000)
    keeper = kept(
        store, {"t1": task("web:1", TaskState.RUNNING, Mount(source="data", target="/d"))}, tmp_path
    )

    async def asked() -> system_pb2.NodeUsage:
        return (await keeper.disk_usage(system_pb2.DiskUsageRequest())).disk_usage

    usage = asyncio.run(asked())
    assert (usage.images_bytes, usage.images_reclaimable_bytes) == (120, 10)
    assert {each.name: each.containers for each in usage.images} == {WEB: 1, OLD: 0}
    assert [each.unique_bytes for each in usage.images] == [10, 10]
    [volume] = usage.volumes
    assert (volume.name, volume.links) == ("data", 1)
    assert volume.size_bytes >= 5000
    assert usage.containers[0].volumes == 1


def test_pruning_takes_strays_and_volumes_of_nobody(tmp_path: Path) -> None:
    store, discarded = Store(WEB), list[str]()
    store.containers = [_container("t1", "web:1"), _container("gone", "web:1")]
    for name in ("t1", "gone"):
        (tmp_path / "anonymous" / name / "0").mkdir(parents=True)
    keeper = kept(store, {"t1": task("web:1")}, tmp_path, discarded)

    async def asked() -> system_pb2.Pruned:
        request = system_pb2.PruneRequest(all=True, volumes=True)
        return (await keeper.prune(request)).prune

    answer = asyncio.run(asked())
    assert discarded == list(answer.containers) == ["gone"]
    assert list(answer.volumes) == ["gone"]
    assert [path.name for path in (tmp_path / "anonymous").iterdir()] == ["t1"]
    assert not answer.images
    assert answer.reclaimed_bytes >= 7


def _container(container_id: str, name: str) -> ContainerDisk:
    return ContainerDisk(
        id=container_id,
        name=container_id,
        image=name,
        created_at=LONG_AGO,
        running=True,
        size_bytes=7,
    )
