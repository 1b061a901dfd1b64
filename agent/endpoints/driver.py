"""Applies endpoint sets to the overlay, the newest only, and remembers them on disk.

Sets come faster than the kernel takes them when many tasks start: what is applied is always the
latest, and versions in between are skipped. The disk is further behind, since it is read only
when the agent starts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final

from agent.disk import WorkerState
from agent.networks import NetworkNews, Networks
from agent.overlay import Overlay
from pyswarm.aio import Backoff, Supervisor
from pyswarm.errors import SwarmError, Unavailable
from pyswarm.model import EndpointSet, EndpointState
from pyswarm.wire import encode

log = logging.getLogger(__name__)

SAVE_SECONDS: Final = 1.0
KNOWN_SECONDS: Final = 10.0
"""A task whose networks are not known after this time fails its try to be prepared."""


class NetworkKeeper:
    """The sets of one node; `on_applied` is told the versions that the overlay runs of sets with
    DRAINING tasks: the managers wait for no others, and most changes of a set are for nobody."""

    def __init__(
        self,
        overlay: Overlay,
        state: WorkerState,
        on_applied: Callable[[dict[str, int]], None],
    ) -> None:
        self._overlay = overlay
        self._state = state
        self._on_applied = on_applied
        self._networks = Networks()
        self._applied: dict[str, int] = {}
        self._saved: dict[str, EndpointSet] = {}
        self._dirty = asyncio.Event()
        self._unsaved = asyncio.Event()
        self._changed = asyncio.Condition()
        self._supervisor = Supervisor("networks")

    async def start(self) -> None:
        """Apply what was known before the restart, so that names and addresses answer again."""
        self._saved = {known.network_id: known for known in self._state.networks()}
        self._networks.sets = dict(self._saved)
        if self._saved:
            self._dirty.set()
            await self._apply()
        self._supervisor.start(self._keep(), "apply")
        self._supervisor.start(self._save_later(), "save")

    async def stop(self) -> None:
        """Stop applying; what the kernel has stays."""
        await self._supervisor.close()
        await self._save()

    def begin_session(self) -> None:
        """A new session names every set again."""
        self._networks.begin_session()

    def settle(self) -> None:
        """Everything was named: the rest is gone."""
        if self._networks.settle():
            self._dirty.set()

    def take(self, news: NetworkNews) -> bool:
        """Take a message; False where one before it is missing."""
        fits = self._networks.apply(news)
        if fits:
            self._dirty.set()
        return fits

    async def known(self, network_ids: Collection[str]) -> None:
        """Until the overlay knows these networks; raises Unavailable where it takes too long."""
        wanted = set(network_ids)
        try:
            async with asyncio.timeout(KNOWN_SECONDS), self._changed:
                await self._changed.wait_for(lambda: wanted <= self._applied.keys())
        except TimeoutError:
            lost = ", ".join(sorted(wanted - self._applied.keys()))
            raise Unavailable(
                f"this node was not told about the network {lost}: it waits for a manager"
            ) from None

    async def _keep(self) -> None:
        backoff = Backoff(0.2, 5.0)
        while True:
            await self._dirty.wait()
            if await self._apply():
                backoff.reset()
            else:
                await asyncio.sleep(backoff.next())

    async def _apply(self) -> bool:
        self._dirty.clear()
        sets = self._networks.in_order()
        try:
            result = await self._overlay.apply(sets)
        except SwarmError as error:
            log.error("the networks could not be brought up to date: %s", error.message)
            self._dirty.set()
            return False
        for problem in result.problems:
            log.warning("overlay: %s", problem)
        async with self._changed:
            self._applied = dict(result.versions)
            self._changed.notify_all()
        draining = {each.network_id for each in sets if _drains(each)}
        self._on_applied({n: v for n, v in self._applied.items() if n in draining})
        self._unsaved.set()
        if all(endpoints.network_id in self._applied for endpoints in sets):
            return True
        self._dirty.set()  # one network failed: the others count, and all are tried again
        return False

    async def _save_later(self) -> None:
        while True:
            await self._unsaved.wait()
            await asyncio.sleep(SAVE_SECONDS)
            self._unsaved.clear()
            await self._save()

    async def _save(self) -> None:
        current = dict(self._networks.sets)
        try:
            for network_id in sorted(self._saved.keys() - current.keys()):
                self._state.drop_network(network_id)
            for network_id, endpoints in sorted(current.items()):
                if self._saved.get(network_id) is not endpoints:
                    # A large set takes long to encode: in a thread, the loop goes on.
                    encoded = await asyncio.to_thread(encode, endpoints)
                    self._state.save_network(network_id, encoded)
        except OSError as error:
            log.error("endpoint sets cannot be remembered: %s", error)
            return
        self._saved = current


def _drains(endpoints: EndpointSet) -> bool:
    return any(task.state == EndpointState.DRAINING for task in endpoints.tasks)
