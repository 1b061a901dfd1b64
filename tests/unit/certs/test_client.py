"""Joining and renewing over real TLS."""

import asyncio
import ssl
from dataclasses import replace

import pytest

from certs.client import bootstrap_address, fetch_root, join, recover, renew
from pyswarm.errors import (
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    SwarmError,
    Unavailable,
)
from pyswarm.model.states import NodeRole
from pyswarm.rpc import ChannelPool
from pyswarm.testing.authority import MemoryCAState, authority_on_loopback
from pyswarm.testing.trust import Trust

SECONDS = 30
TRUST = Trust()
NOBODY = "127.0.0.1:1"


def test_the_bootstrap_listener_is_one_port_further():
    assert bootstrap_address("10.0.0.1:2377") == "10.0.0.1:2378"
    assert bootstrap_address("[::1]:2377") == "[::1]:2378"
    for wrong in ("10.0.0.1", ":2377", "host:port", "host:65535", "host:0"):
        with pytest.raises(InvalidArgument, match="write host:port"):
            bootstrap_address(wrong)


def test_a_joiner_becomes_what_its_token_says():
    async def main():
        async with authority_on_loopback(MemoryCAState(TRUST)) as ca:
            credentials = await join([ca.address], TRUST.root.manager_token, "host7")
            identity = credentials.identity
            assert (identity.role, identity.cluster_id) == (NodeRole.MANAGER, "swarm1")
            assert ca.state.nodes[identity.node_id].hostname == "host7"
            assert credentials.root_pem == TRUST.root.certificate_pem

    asyncio.run(main())


def test_a_joiner_with_another_digest_stops_before_the_token_is_sent():
    calls = []

    class Watching(MemoryCAState):
        @property
        def is_leader(self):
            calls.append("IssueCertificate")
            return True

        @is_leader.setter
        def is_leader(self, value):
            pass

    async def main():
        async with authority_on_loopback(Watching(TRUST)) as ca:
            with pytest.raises(PermissionDenied, match=r"another swarm.*nothing was sent"):
                await join([ca.address], Trust().root.worker_token, "host7")
            assert not calls
            with pytest.raises(PermissionDenied, match="another swarm"):
                await fetch_root(ca.address, "0" * 50)
            await join([ca.address], TRUST.root.worker_token, "host7")
            assert calls

    asyncio.run(main())


def test_a_server_that_repeats_the_root_but_is_not_of_it_gets_no_token():
    # It can show the true root, which is public, but no certificate that this root has signed.
    impostor = Trust()
    impostor.root = replace(impostor.root, certificate_pem=TRUST.root.certificate_pem)

    async def main():
        state = MemoryCAState(impostor)
        state.trust = Trust()
        async with authority_on_loopback(state) as ca:
            state.trust = impostor
            assert await fetch_root(ca.address, TRUST.root.digest)
            with pytest.raises(Unavailable):
                await join([ca.address], TRUST.root.worker_token, "host7", timeout_seconds=2)
            assert not state.nodes

    asyncio.run(main())


def test_a_wrong_or_broken_token_is_a_sentence_at_once():
    async def main():
        async with authority_on_loopback(MemoryCAState(TRUST)) as ca:
            wrong = TRUST.root.worker_token[:-3] + "000"
            with pytest.raises(PermissionDenied, match="wrong or was rotated"):
                await join([ca.address], wrong, "host7")
            with pytest.raises(InvalidArgument, match="begins with SWMTKN-"):
                await join([ca.address], "nonsense", "host7")

    asyncio.run(main())


def test_a_joiner_follows_a_follower_to_the_leader_past_a_dead_manager():
    async def main():
        leading = MemoryCAState(TRUST)
        async with authority_on_loopback(leading, "m1") as leader:
            following = MemoryCAState(TRUST, is_leader=False, leader_address=leader.address)
            async with authority_on_loopback(following, "m2") as follower:
                given = [NOBODY, follower.address]
                credentials = await join(given, TRUST.root.worker_token, "host7")
                assert list(leading.nodes) == [credentials.identity.node_id]
                assert not following.nodes

    asyncio.run(main())


def test_a_joiner_waits_for_an_election():
    async def main():
        state = MemoryCAState(TRUST, is_leader=False)

        async def elect():
            await asyncio.sleep(0.3)
            state.is_leader = True

        async with authority_on_loopback(state) as ca, asyncio.TaskGroup() as tasks:
            tasks.create_task(elect())
            assert await join([ca.address], TRUST.root.worker_token, "host7")

    asyncio.run(main())


def test_nobody_there_is_named():
    async def main():
        with pytest.raises(Unavailable, match=r"nobody answers at 127\.0\.0\.1:2"):
            await join([NOBODY], TRUST.root.worker_token, "host7", timeout_seconds=0.5)
        with pytest.raises(FailedPrecondition, match="no manager's address"):
            await join([], TRUST.root.worker_token, "host7")

    asyncio.run(main())


def test_a_clock_that_is_wrong_is_named_instead_of_a_closed_socket():
    async def main():
        async with authority_on_loopback(MemoryCAState(TRUST)) as ca:
            for offset, word in ((-86400, "not valid before"), (86400, "expired at")):
                with pytest.raises(FailedPrecondition, match=f"{word}.*set the clock"):
                    await join(
                        [ca.address],
                        TRUST.root.worker_token,
                        "host7",
                        clock=lambda offset=offset: TRUST.now + offset,
                    )

    asyncio.run(main())


def test_a_server_that_is_no_swarm_is_a_sentence(tmp_path):
    async def main():
        node = TRUST.node("m1", NodeRole.MANAGER)
        (tmp_path / "pem").write_bytes(node.key_pem + node.certificate_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "pem")
        context.set_alpn_protocols(["h2"])

        def answer(reader, writer):
            writer.write(b"220 this is mail\r\n")
            writer.close()

        for tls in (None, context):
            server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
            async with server:
                address = f"127.0.0.1:{server.sockets[0].getsockname()[1] - 1}"
                with pytest.raises(SwarmError):
                    await join([address], TRUST.root.worker_token, "host", timeout_seconds=1)

    asyncio.run(main())


def test_a_renewal_keeps_the_id_changes_the_key_and_takes_the_role_on_record():
    async def main():
        async with authority_on_loopback(MemoryCAState(TRUST)) as ca:
            first = await join([ca.address], TRUST.root.worker_token, "host7")
            node_id = first.identity.node_id
            ca.state.nodes[node_id] = replace(ca.state.nodes[node_id], role=NodeRole.MANAGER)
            pool = ChannelPool(lambda: first)
            second = await renew(pool, [NOBODY, ca.address], first.root_pem)
            await pool.close()
            assert second.identity.node_id == node_id
            assert second.identity.role is NodeRole.MANAGER
            assert second.key_pem != first.key_pem
            assert ca.state.nodes[node_id].certificate_serial == second.identity.serial

    asyncio.run(main())


def test_a_removed_node_gets_no_renewal():
    async def main():
        async with authority_on_loopback(MemoryCAState(TRUST)) as ca:
            first = await join([ca.address], TRUST.root.worker_token, "host7")
            ca.state.removed.add(first.identity.node_id)
            pool = ChannelPool(lambda: first)
            with pytest.raises(PermissionDenied, match="was removed"):
                await renew(pool, [ca.address], first.root_pem)
            await pool.close()

    asyncio.run(main())


def test_a_node_that_slept_through_its_renewal_recovers():
    async def main():
        async with authority_on_loopback(MemoryCAState(TRUST)) as ca:
            ca.state.certificate_life_seconds = -1.0
            with pytest.raises(FailedPrecondition, match="expired"):
                await join([ca.address], TRUST.root.worker_token, "host7")
            expired = TRUST.node("n7", life_seconds=10, age_seconds=20)
            (known,) = ca.state.nodes.values()
            serial = expired.identity.serial
            ca.state.nodes["n7"] = replace(known, id="n7", certificate_serial=serial)
            ca.state.certificate_life_seconds = 3600.0
            fresh = await recover([ca.address], expired)
            assert fresh.identity.node_id == "n7"
            fresh.check_time(TRUST.now)
            with pytest.raises(PermissionDenied, match="a later certificate"):
                await recover([ca.address], expired)

    asyncio.run(main())
