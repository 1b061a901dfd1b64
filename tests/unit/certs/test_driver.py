"""The keeper renews in time, stores, and tells; a running server and its clients follow."""

import asyncio
import time
from contextlib import asynccontextmanager

from certs.client import join
from certs.disk import CertificateDirectory
from certs.driver import Keeper
from pyswarm.aio import Supervisor
from pyswarm.model.states import NodeRole
from pyswarm.testing.authority import MemoryCAState, authority_on_loopback
from pyswarm.testing.trust import Trust

SECONDS = 60
TRUST = Trust()


@asynccontextmanager
async def kept(tmp_path, ca, credentials, **options):
    directory = CertificateDirectory(tmp_path / "certificates")
    directory.store(credentials)
    keeper = Keeper(directory, credentials, lambda: [ca.address], **options)
    changes = asyncio.Queue()
    keeper.on_change(changes.put_nowait)
    async with Supervisor("test") as supervisor:
        supervisor.start(keeper.run(), "keeper")
        yield keeper, changes, directory


async def next_change(changes):
    async with asyncio.timeout(SECONDS):
        return await changes.get()


def test_a_demand_brings_the_new_role_to_disk_and_to_whoever_asked(tmp_path):
    async def main():
        async with authority_on_loopback(MemoryCAState(TRUST)) as ca:
            first = await join([ca.address], TRUST.root.worker_token, "host7")
            async with kept(tmp_path, ca, first) as (keeper, changes, directory):
                assert keeper.current() is first
                node_id = first.identity.node_id
                object.__setattr__(ca.state.nodes[node_id], "role", NodeRole.MANAGER)
                keeper.demand()
                fresh = await next_change(changes)
                assert keeper.current() is fresh
                assert fresh.identity.role is NodeRole.MANAGER
                assert directory.load().identity == fresh.identity

    asyncio.run(main())


def test_short_lives_are_renewed_again_and_again_before_their_end(tmp_path):
    async def main():
        async with authority_on_loopback(MemoryCAState(TRUST)) as ca:
            ca.state.certificate_life_seconds = 3.0
            first = await join([ca.address], TRUST.root.worker_token, "host7")
            async with kept(tmp_path, ca, first) as (_, changes, _directory):
                serials = {first.identity.serial}
                for _ in range(2):
                    serials.add((await next_change(changes)).identity.serial)
                assert len(serials) == 3

    asyncio.run(main())


def test_a_keeper_that_starts_with_an_expired_certificate_recovers(tmp_path):
    async def main():
        async with authority_on_loopback(MemoryCAState(TRUST)) as ca:
            valid = await join([ca.address], TRUST.root.worker_token, "host7")
            node_id = valid.identity.node_id
            expired = TRUST.node(node_id, life_seconds=60, age_seconds=120)
            record = ca.state.nodes[node_id]
            object.__setattr__(record, "certificate_serial", expired.identity.serial)
            async with kept(tmp_path, ca, expired) as (_, changes, _directory):
                fresh = await next_change(changes)
                fresh.check_time(time.time())
                assert fresh.identity.node_id == node_id

    asyncio.run(main())


def test_while_managers_are_away_it_goes_on_trying(tmp_path, monkeypatch):
    monkeypatch.setattr("certs.renewal.RETRY_FIRST_SECONDS", 0.05)

    async def main():
        async with authority_on_loopback(MemoryCAState(TRUST)) as ca:
            first = await join([ca.address], TRUST.root.worker_token, "host7")
            ca.state.removed.add(first.identity.node_id)
            async with kept(tmp_path, ca, first) as (keeper, changes, directory):
                keeper.demand()
                async with asyncio.timeout(SECONDS):
                    while keeper._renewal._failures < 2:
                        await asyncio.sleep(0.02)
                assert keeper.current() is first
                assert directory.load().identity == first.identity
                ca.state.removed.clear()
                assert (await next_change(changes)).identity.node_id == first.identity.node_id

    asyncio.run(main())
