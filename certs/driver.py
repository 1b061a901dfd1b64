"""Keeps a node's credentials valid: waits for the hour, asks, stores, tells who wants to know."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from certs import renewal, x509
from certs.client import recover, recover_alone, renew
from certs.disk import CertificateDirectory
from certs.x509 import BACKDATE_SECONDS
from pyswarm.api.v1 import ca_pb2
from pyswarm.errors import SwarmError, Unavailable
from pyswarm.rpc import ChannelPool, Credentials

log = logging.getLogger(__name__)

RECOVER_SECONDS: Final = 60.0
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
        self._demands: list[renewal.Demanded] = []
        self._demanded = asyncio.Event()
        self._told: list[bytes] = []
        self.issue_alone: Callable[[bytes], ca_pb2.IssuedCertificate] | None = None
        """On a manager: signs its own request, for the day when all certificates have expired."""
        self.problem = ""
        """Why the last try to renew failed, in one sentence; empty after one that did not."""
        self._renewal = renewal.Renewal()

    def current(self) -> Credentials:
        """The credentials to use now."""
        return self._credentials

    def on_change(self, callback: Callable[[Credentials], None]) -> None:
        """Call `callback(credentials)` in the loop after each renewal, once they are on disk."""
        self._callbacks.append(callback)

    def trouble(self) -> str:
        """Why the certificate is not valid or was not renewed; empty where all is well."""
        try:
            self._credentials.check_time(self._clock())
        except SwarmError as error:
            return error.message
        return self.problem

    def demand(self) -> None:
        """Renew now: the node's role has changed."""
        self._demand(renewal.Demanded())

    def trust(self, roots_pem: bytes, within_seconds: float = 0.0) -> None:
        """The managers say which roots count; the last one signs.

        Where it has signed this node's certificate already, the others are forgotten or added at
        once. Else the node renews, at a random moment `within_seconds`, and takes the roots that
        come with its new certificate: until then it must be known to those who trust the old one.
        """
        roots = x509.split(roots_pem)
        if roots == self._told:
            return
        self._told = roots
        credentials = self._credentials
        if x509.issuing_root(credentials.certificate_pem, roots_pem) != roots[-1]:
            delay = random.uniform(0, within_seconds)
            log.info("the swarm's root is being rotated: renewing in %.1f s", delay)
            self._demand(renewal.Demanded(self._clock() + delay))
        elif roots != x509.split(credentials.root_pem):
            fresh = replace(credentials, root_pem=b"".join(roots))
            try:
                self._directory.store(fresh)
            except OSError as error:
                self._told = []
                log.error("the swarm's new roots could not be stored: %s", error)
                return
            self._install(fresh)

    def _demand(self, demand: renewal.Demanded) -> None:
        self._demands.append(demand)
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
                    self._take_demands()
                    commands = self._renewal.handle(event, self._clock())
                await self._wait()
                commands = self._take_demands()
                commands += self._renewal.handle(renewal.Tick(), self._clock())
        finally:
            await pool.close()

    def _take_demands(self) -> list[renewal.Renew]:
        demands, self._demands = self._demands, []
        self._demanded.clear()
        return [each for event in demands for each in self._renewal.handle(event, self._clock())]

    async def _wait(self) -> None:
        seconds = min(self._renewal.deadline() - self._clock(), _LOOK_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                await self._demanded.wait()

    async def _renew(self, pool: ChannelPool, *, expired: bool) -> renewal.Event:
        try:
            if expired:
                fresh = await self._recover()
            else:
                root = self._credentials.root_pem
                fresh = await renew(pool, self._addresses(), root, clock=self._clock)
            self._directory.store(fresh)
        except (SwarmError, OSError) as error:
            self.problem = f"the node's certificate was not renewed, a later try follows: {error}"
            log.warning(self.problem)
            return renewal.Failed(random.random())
        self.problem = ""
        identity = fresh.identity
        log.info("new certificate %s as a %s", identity.serial, identity.role.name.lower())
        self._install(fresh)
        return self._installed()

    async def _recover(self) -> Credentials:
        try:
            return await recover(
                self._addresses(),
                self._credentials,
                timeout_seconds=RECOVER_SECONDS,
                clock=self._clock,
            )
        except Unavailable:
            if self.issue_alone is None:
                raise
            # A swarm that was off for too long has no manager left to whom a certificate could
            # still be proved. Each signs its own for a moment, and then asks the leader.
            fresh = recover_alone(self.issue_alone, self._credentials, self._clock)
            self.demand()
            return fresh

    def _install(self, fresh: Credentials) -> None:
        self._credentials = fresh
        for callback in self._callbacks:
            callback(fresh)

    def _installed(self) -> renewal.Installed:
        begins, ends = self._credentials.validity
        return renewal.Installed(begins + BACKDATE_SECONDS, ends, random.random())
