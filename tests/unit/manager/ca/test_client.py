"""An external CA over real HTTPS signs what the managers would sign, and nothing else counts."""

import asyncio
import socket
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import pytest

from certs.client import join, renew
from manager.ca import client
from manager.ca.client import ExternalSigner
from pyswarm.errors import FailedPrecondition, PermissionDenied, Unavailable
from pyswarm.model import ExternalCA, NodeRole
from pyswarm.rpc import ChannelPool
from pyswarm.testing.authority import MemoryCAState, authority_on_loopback
from pyswarm.testing.cfssl import cfssl
from pyswarm.testing.trust import Trust


@contextmanager
def external():
    """A swarm's trust whose root key only the external CA has, and that CA."""
    trust = Trust()
    root = trust.root.certificate_pem
    with cfssl(root, trust.root.key_pem, root) as authority:
        yield trust, authority


@asynccontextmanager
async def serving(trust, authority):
    state = MemoryCAState(trust)
    known = ExternalCA(url=authority.url, certificate_pem=trust.root.certificate_pem)
    state.external_cas = (known,)
    async with authority_on_loopback(state) as ca:
        trust.root = replace(trust.root, key_pem=b"")
        yield ca


def test_nodes_join_and_renew_with_certificates_of_the_external_ca():
    async def main():
        with external() as (trust, authority):
            async with serving(trust, authority) as ca:
                first = await join([ca.address], trust.root.manager_token, "host7")
                assert first.identity.role is NodeRole.MANAGER
                pool = ChannelPool(lambda: first)
                second = await renew(pool, [ca.address], first.root_pem)
                await pool.close()
                asked = [body["subject"]["CN"] for body in authority.requests]
                assert asked == [first.identity.node_id] * 2
                record = ca.state.nodes[first.identity.node_id]
                assert record.certificate_serial == second.identity.serial

    asyncio.run(main())


@pytest.mark.parametrize("wrong", [{"CN": "another"}, {"OU": "swarm-manager"}, {"O": "swarm2"}])
def test_a_certificate_for_somebody_else_is_not_handed_out(wrong):
    async def main():
        with external() as (trust, authority):
            async with serving(trust, authority) as ca:
                authority.subject = wrong
                with pytest.raises(PermissionDenied, match="did not put the node's id"):
                    await join([ca.address], trust.root.worker_token, "host7")
                assert not ca.state.nodes

    asyncio.run(main())


def test_a_refusal_is_told_and_a_certificate_of_another_root_is_none_of_ours():
    async def main():
        with external() as (trust, authority):
            async with serving(trust, authority) as ca:
                authority.refusal = "policy violation"
                with pytest.raises(PermissionDenied, match="refused to sign: policy violation"):
                    await join([ca.address], trust.root.worker_token, "host7")
                authority.refusal = ""
                other = Trust().root
                authority.root_pem, authority.key_pem = other.certificate_pem, other.key_pem
                with pytest.raises(PermissionDenied, match="not one of this swarm's root"):
                    await join([ca.address], trust.root.worker_token, "host7")

    asyncio.run(main())


def test_without_any_external_ca_for_the_root_it_is_said_what_to_set():
    async def main():
        with external() as (trust, authority):
            async with serving(trust, authority) as ca:
                ca.state.external_cas = ()
                with pytest.raises(FailedPrecondition, match="swarm update --external-ca"):
                    await join([ca.address], trust.root.worker_token, "host7")

    asyncio.run(main())


def test_the_next_ca_is_asked_where_one_is_away_and_strangers_are_not_served(monkeypatch):
    monkeypatch.setattr(client, "SECONDS", 0.5)

    async def main():
        with external() as (trust, authority), socket.create_server(("127.0.0.1", 0)) as mute:
            manager = trust.node("m1", NodeRole.MANAGER)
            root = trust.root.certificate_pem
            silent = ExternalCA(url=f"https://127.0.0.1:{mute.getsockname()[1]}/")
            silent = replace(silent, certificate_pem=root)
            alive = ExternalCA(url=authority.url, certificate_pem=root)
            authority.refusal = "seen"
            with pytest.raises(PermissionDenied, match="seen"):
                await ExternalSigner(lambda: manager).sign([silent, alive], b"{}")
            with pytest.raises(Unavailable, match="does not answer"):
                await ExternalSigner(lambda: manager).sign([silent], b"{}")
            stranger = Trust().node("m1", NodeRole.MANAGER)
            with pytest.raises(Unavailable, match="does not answer"):
                await ExternalSigner(lambda: stranger).sign([alive], b"{}")
            impostor = replace(alive, certificate_pem=Trust().root.certificate_pem)
            with pytest.raises(Unavailable, match=r"not answer.*certificate verify failed"):
                await ExternalSigner(lambda: manager).sign([impostor], b"{}")

    asyncio.run(main())
