"""Keeps a node's credentials valid: waits for the hour, asks, stores, tells who wants to know."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from certs import renewal
from certs.client import recover, renew
from certs.disk import CertificateDirectory
from certs.x509 import BACKDATE_SECONDS
from pyswarm.errors import SwarmError
from pyswarm.rpc import ChannelPool, Credentials

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 60.0
"""The clock may be set while we sleep, so look at it once in a while."""


class Keeper:
    """Holds the credentials in use; `run()` renews them until it is cancelled.

    `addresses()` answers the managers' main addresses of now. `keeper.current` is a `Provider`
    for servers and channel pools: any thread may call it.
    """

    def __init__(
        self,
        directory: CertificateDirectory,
        credentials: Credentials,
        addresses: Callable[[], Sequence[str]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._credentials = credentials
        self._addresses = addresses
        self._clock = clock
        self._callbacks: list[Callable[[Credentials], None]] = []
        self._demanded = asyncio.Event()
        self._renewal = renewal.Renewal()

    def current(self) -> Credentials:
        """The credentials to use now."""
        return self._credentials

    def on_change(self, callback: Callable[[Credentials], None]) -> None:
        """Call `callback(credentials)` in the loop after each renewal, once they are on disk."""
        self._callbacks.append(callback)

    def demand(self) -> None:
        """Renew now: the node's role has changed."""
        self._demanded.set()

    async def run(self) -> None:
        """Renew for ever; failures are logged and tried again."""
        pool = ChannelPool(self.current, self._clock)
        try:
            commands = self._renewal.handle(self._installed(), self._clock())
            while True:
                # Each answer may ask for more: a demand that came while we were asking.
                while commands:
                    event = await self._renew(pool, expired=commands[0].expired)
                    if self._demanded.is_set():
                        self._demanded.clear()
                        self._renewal.handle(renewal.Demanded(), self._clock())
                    commands = self._renewal.handle(event, self._clock())
                event = await self._wait()
                commands = self._renewal.handle(event, self._clock())
        finally:
            await pool.close()

    async def _wait(self) -> renewal.Event:
        seconds = min(self._renewal.deadline() - self._clock(), _LOOK_SECONDS)
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await self._demanded.wait()
        except TimeoutError:
            return renewal.Tick()
        self._demanded.clear()
        return renewal.Demanded()

    async def _renew(self, pool: ChannelPool, *, expired: bool) -> renewal.Event:
        try:
            if expired:
                fresh = await recover(self._addresses(), self._credentials, clock=self._clock)
            else:
                root = self._credentials.root_pem
                fresh = await renew(pool, self._addresses(), root, clock=self._clock)
            self._directory.store(fresh)
        except (SwarmError, OSError) as error:
            log.warning("the node's certificate was not renewed, a later try follows: %s", error)
            return renewal.Failed(random.random())
        self._credentials = fresh
        identity = fresh.identity
        log.info("new certificate %s as a %s", identity.serial, identity.role.name.lower())
        for callback in self._callbacks:
            callback(fresh)
        return self._installed()

    def _installed(self) -> renewal.Installed:
        begins, ends = self._credentials.validity
        return renewal.Installed(begins + BACKDATE_SECONDS, ends, random.random())
