"""The keeper renews in time, stores, and tells; a running server and its clients follow."""

import asyncio
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from certs import x509
from certs.client import join
from certs.disk import CertificateDirectory
from certs.driver import Keeper
from manager.ca.client import ExternalSigner
from manager.ca.server import Authority
from pyswarm.aio import Supervisor
from pyswarm.api.v1 import ca_pb2, ca_pb2_grpc
from pyswarm.errors import FailedPrecondition, PermissionDenied
from pyswarm.model.node import Node
from pyswarm.model.states import NodeRole
from pyswarm.rpc import Access, Authorizer, ChannelPool, caller, mutual_server, read_identity
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


def test_a_node_that_hears_of_a_new_root_renews_and_takes_both_and_then_the_new_one(tmp_path):
    async def main():
        trust = Trust()
        async with authority_on_loopback(MemoryCAState(trust)) as ca:
            first = await join([ca.address], trust.root.worker_token, "host7")
            async with kept(tmp_path, ca, first) as (keeper, changes, directory):
                keeper.trust(trust.root.trusted_pem)
                trust.begin_rotation()
                keeper.trust(trust.root.trusted_pem, within_seconds=0.01)
                rotated = await next_change(changes)
                assert rotated.root_pem == trust.root.trusted_pem
                new = trust.root.rotation.certificate_pem
                assert x509.issuing_root(rotated.certificate_pem, rotated.root_pem) == new
                trust.finish_rotation()
                keeper.trust(trust.root.trusted_pem)
                settled = await next_change(changes)
                assert settled.root_pem == new
                assert settled.certificate_pem == rotated.certificate_pem
                assert directory.load().root_pem == new
                keeper.trust(trust.root.trusted_pem)
                assert changes.empty()

    asyncio.run(main())


def test_a_node_waits_for_its_moment_to_renew(tmp_path):
    async def main():
        trust = Trust()
        async with authority_on_loopback(MemoryCAState(trust)) as ca:
            first = await join([ca.address], trust.root.worker_token, "host7")
            async with kept(tmp_path, ca, first) as (keeper, changes, _directory):
                trust.begin_rotation()
                keeper.trust(trust.root.trusted_pem, within_seconds=1e6)
                keeper.trust(trust.root.trusted_pem, within_seconds=1e6)
                await asyncio.sleep(0.1)
                assert changes.empty()
                keeper.demand()
                assert (await next_change(changes)).root_pem == trust.root.trusted_pem

    asyncio.run(main())


def test_a_renewal_that_fails_is_told_until_one_succeeds(tmp_path, monkeypatch):
    monkeypatch.setattr("certs.renewal.RETRY_FIRST_SECONDS", 0.05)

    async def main():
        async with authority_on_loopback(MemoryCAState(TRUST)) as ca:
            first = await join([ca.address], TRUST.root.worker_token, "host7")
            node_id = first.identity.node_id
            ca.state.removed.add(node_id)
            async with kept(tmp_path, ca, first) as (keeper, changes, _directory):
                keeper.demand()
                async with asyncio.timeout(SECONDS):
                    while not keeper.problem:
                        await asyncio.sleep(0.01)
                assert "was removed from the swarm" in keeper.problem
                ca.state.removed.clear()
                await next_change(changes)
                assert keeper.problem == ""

    asyncio.run(main())


@pytest.mark.slow
def test_servers_and_clients_of_a_running_node_use_the_certificate_that_was_renewed(tmp_path):
    # The life is a parameter of the state here; users are not let below an hour.
    async def serial_shown(address):
        host, _, port = address.rpartition(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return read_identity(ssl.DER_cert_to_PEM_cert(shown).encode()).serial

    async def main():
        async with authority_on_loopback(MemoryCAState(TRUST)) as ca:
            ca.state.certificate_life_seconds = 3.0
            first = await join([ca.address], TRUST.root.manager_token, "host7")
            async with kept(tmp_path, ca, first) as (keeper, changes, _directory):
                table = {"/pyswarm.api.v1.NodeCA/RenewCertificate": Access.NODE}
                callers, authorizer = [], Authorizer(table, "swarm1", lambda node_id: False)

                class Listens(ca_pb2_grpc.NodeCAServicer):
                    async def RenewCertificate(self, request, context):
                        callers.append(caller().serial)
                        return ca_pb2.IssuedCertificate()

                bound = mutual_server("127.0.0.1:0", keeper.current, authorizer)
                ca_pb2_grpc.add_NodeCAServicer_to_server(Listens(), bound.server)
                await bound.server.start()
                address, pool = f"127.0.0.1:{bound.port}", ChannelPool(keeper.current)
                shown = []

                async def call():
                    stub = ca_pb2_grpc.NodeCAStub(pool.get(address))
                    await stub.RenewCertificate(ca_pb2.RenewCertificateRequest(), timeout=SECONDS)
                    shown.append(await serial_shown(address))

                serials = [first.identity.serial]
                await call()
                while time.time() <= first.validity[1]:
                    serials.append((await next_change(changes)).identity.serial)
                    await call()
                await pool.close()
                await bound.server.stop(0)
                assert len(serials) > 2
                assert callers == shown == serials

    asyncio.run(main())


def test_when_all_certificates_have_expired_a_manager_signs_its_own_and_then_renews(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("certs.driver.RECOVER_SECONDS", 0.5)

    async def main():
        trust = Trust()
        expired = trust.node("m1", NodeRole.MANAGER, life_seconds=60, age_seconds=7200)
        state = MemoryCAState(trust)
        state.nodes["m1"] = Node(id="m1", role=NodeRole.MANAGER)
        authority = Authority(state, ExternalSigner(lambda: expired))
        since, _ = expired.validity
        async with (
            authority_on_loopback(state, credentials=expired) as ca,
            kept(tmp_path, ca, expired) as (keeper, changes, directory),
        ):
            keeper.issue_alone = lambda request: authority.issue_alone("m1", request, since)
            keeper.on_change(lambda fresh: setattr(ca, "credentials", fresh))
            alone = await next_change(changes)
            begins, ends = alone.validity
            assert begins == since, "valid too where only this clock was wrong"
            assert 0 < ends - time.time() <= 3600
            renewed = await next_change(changes)
            assert renewed.identity.serial != alone.identity.serial
            assert state.nodes["m1"].certificate_serial == renewed.identity.serial
            assert directory.load().identity == renewed.identity

    asyncio.run(main())


def test_a_manager_that_was_removed_or_has_no_key_signs_nothing():
    trust = Trust()
    state = MemoryCAState(trust)
    authority = Authority(state, ExternalSigner(lambda: None))
    request = x509.new_request(x509.new_key())
    for known in ({}, {"m1": Node(id="m1", role=NodeRole.WORKER)}):
        state.nodes = known
        with pytest.raises(PermissionDenied, match="not a manager of this swarm any more"):
            authority.issue_alone("m1", request, 0.0)
    state.nodes = {"m1": Node(id="m1", role=NodeRole.MANAGER)}
    trust.root = replace(trust.root, key_pem=b"")
    with pytest.raises(FailedPrecondition, match="only an external CA"):
        authority.issue_alone("m1", request, 0.0)
