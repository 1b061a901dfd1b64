"""What a node tells of its volumes, and what it removes."""

import asyncio
import contextlib

from agent.volumes.disk import VolumeDirectory
from agent.volumes.driver import VolumeKeeper
from pyswarm.errors import Unavailable
from pyswarm.model import Volume, VolumeSpec

TASK = "a" * 25


class Managers:
    """They take reports, or refuse the next ones."""

    def __init__(self):
        self.reports, self.refusals, self.told = [], 0, asyncio.Event()

    async def take(self, report):
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("no manager is connected")
        self.reports.append(report)
        self.told.set()

    async def heard(self):
        async with asyncio.timeout(10):
            await self.told.wait()
        self.told.clear()
        return self.reports[-1]


def play(tmp_path, story):
    async def main():
        directory, managers = VolumeDirectory(tmp_path / "s", tmp_path / "r"), Managers()
        keeper = VolumeKeeper(directory, managers.take)
        work = asyncio.ensure_future(keeper.run())
        try:
            await story(directory, managers, keeper)
        finally:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work

    asyncio.run(main())


def names(report):
    return [volume.spec.name for volume in report.volumes]


def test_each_session_hears_everything_and_a_lost_report_is_sent_again(tmp_path):
    async def story(directory, managers, keeper):
        directory.use(TASK, VolumeSpec(name="data"))
        managers.refusals = 2
        keeper.begin_session()
        assert names(await managers.heard()) == ["data"]
        keeper.begin_session()
        assert names(await managers.heard()) == ["data"]

    play(tmp_path, story)


def test_a_volume_is_removed_once_its_last_task_has_left(tmp_path):
    async def story(directory, managers, keeper):
        directory.use(TASK, VolumeSpec(name="data"))
        keeper.begin_session()
        await managers.heard()
        keeper.assigned([Volume(id="v", spec=VolumeSpec(name="data"), pending_delete=True)])
        directory.leave(TASK)
        keeper.changed()
        report = await managers.heard()
        while names(report):
            report = await managers.heard()
        assert [name for name, _ in report.removed] == ["data"]
        keeper.assigned([])
        directory.use(TASK, VolumeSpec(name="data"))

    play(tmp_path, story)
