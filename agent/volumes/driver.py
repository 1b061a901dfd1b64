"""Tells the managers which volumes are here, and removes those that they want removed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from agent.volumes.disk import VolumeDirectory
from agent.volumes.report import NodeVolume, VolumeReport
from pyswarm.aio import Backoff
from pyswarm.errors import SwarmError
from pyswarm.model import Volume

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0
"""Between two tries to remove a volume that a task still uses."""

COALESCE_SECONDS = 0.05
"""Changes that come within this time are one report."""


class VolumeKeeper:
    """`report` delivers a whole report, and raises SwarmError where nobody took it."""

    def __init__(
        self, directory: VolumeDirectory, report: Callable[[VolumeReport], Awaitable[None]]
    ) -> None:
        self._directory = directory
        self._report = report
        self._wake = asyncio.Event()
        self._told: tuple[NodeVolume, ...] | None = None
        self._asked: set[str] = set()
        self._going: set[str] = set()
        self._freed: dict[str, int] = {}

    def begin_session(self) -> None:
        """A manager that may know nothing."""
        self._told = None
        self._wake.set()

    def changed(self) -> None:
        """A task may have made a volume, or left one."""
        self._wake.set()

    def assigned(self, volumes: Iterable[Volume]) -> None:
        """Every volume that the managers speak of."""
        going = {volume.spec.name for volume in volumes if volume.pending_delete}
        if going != self._asked:
            self._asked, self._going = going, set(going)
            self._directory.refuse(going)
            self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        backoff = Backoff(0.2, 5.0)
        while True:
            try:
                async with asyncio.timeout(AGAIN_SECONDS if self._going else None):
                    await self._wake.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(COALESCE_SECONDS)
            self._wake.clear()
            try:
                await self._remove()
                await self._tell()
                backoff.reset()
            except (SwarmError, OSError) as error:
                log.info("volumes: %s; trying again", error)
                await asyncio.sleep(backoff.next())
                self._wake.set()

    async def _remove(self) -> None:
        for name in sorted(self._going - self._freed.keys()):
            freed = await asyncio.to_thread(self._directory.remove, name)
            if freed is not None:
                log.info("removed volume %s: %d bytes", name, freed)
                self._freed[name] = freed

    async def _tell(self) -> None:
        volumes, freed = await asyncio.to_thread(self._directory.list), dict(self._freed)
        if volumes == self._told and not freed:
            return
        await self._report(VolumeReport(volumes=volumes, removed=tuple(sorted(freed.items()))))
        self._told = volumes
        for name in freed:
            del self._freed[name]
            self._going.discard(name)
