"""The CA's services over real TLS, seen by a client that does not behave."""

import asyncio
import os

import pytest

from certs import x509
from certs.authority import rotate_token
from pyswarm.api.v1 import ca_pb2, ca_pb2_grpc
from pyswarm.errors import (
    AlreadyExists,
    InvalidArgument,
    NotLeader,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from pyswarm.model.ids import ID_BYTES
from pyswarm.model.node import Node
from pyswarm.model.states import NodeRole
from pyswarm.rpc import (
    MANAGER,
    Credentials,
    Rate,
    RateLimit,
    methods,
    secure_channel,
    swarm_errors,
    trusting_channel,
)
from pyswarm.testing.authority import MemoryCAState, authority_on_loopback
from pyswarm.testing.trust import Trust

SECONDS = 30
TRUST = Trust()


def bootstrap(work, state=None, **options):
    """Run `work(issue, state)`; `issue(**fields)` is the call of a stranger."""

    async def main():
        async with authority_on_loopback(state or MemoryCAState(TRUST), **options) as ca:
            host, port = ca.address.split(":")
            root = TRUST.root.certificate_pem
            async with trusting_channel(f"{host}:{int(port) + 1}", root, MANAGER) as channel:
                stub = ca_pb2_grpc.BootstrapStub(channel)

                async def issue(**fields):
                    with swarm_errors():
                        request = ca_pb2.IssueCertificateRequest(**fields)
                        return await stub.IssueCertificate(request, timeout=SECONDS)

                await work(issue, ca.state)

    asyncio.run(main())


def request():
    key = x509.new_key()
    return key, x509.new_request(key)


def test_a_token_gives_a_registered_node_of_its_role():
    async def work(issue, state):
        for token, role in (
            (TRUST.root.worker_token, NodeRole.WORKER),
            (TRUST.root.manager_token, NodeRole.MANAGER),
        ):
            key, csr = request()
            answer = await issue(request=csr, token=token, hostname="host7")
            identity = Credentials(answer.certificate, key, answer.root_certificate).identity
            assert (identity.role, identity.cluster_id) == (role, "swarm1")
            node = state.nodes[identity.node_id]
            assert (node.role, node.hostname) == (role, "host7")
            assert node.certificate_serial == identity.serial

    bootstrap(work)


def test_the_same_request_again_makes_no_second_node():
    async def work(issue, state):
        key, csr = request()
        first = await issue(request=csr, token=TRUST.root.worker_token, hostname="host7")
        again = await issue(request=csr, token=TRUST.root.worker_token, hostname="host7")
        assert first.certificate != again.certificate
        (node,) = state.nodes.values()
        identity = Credentials(again.certificate, key, again.root_certificate).identity
        assert node.certificate_serial == identity.serial
        with pytest.raises(AlreadyExists):
            await issue(request=csr, token=TRUST.root.manager_token, hostname="host7")

    bootstrap(work)


def test_nothing_is_issued_without_a_good_proof():
    async def work(issue, state):
        _, csr = request()
        token = TRUST.root.worker_token
        with pytest.raises(InvalidArgument, match="needs a join token"):
            await issue(request=csr)
        with pytest.raises(PermissionDenied, match="wrong or was rotated"):
            await issue(request=csr, token=token[:-3] + "000")
        with pytest.raises(InvalidArgument, match="cannot be read"):
            await issue(request=b"garbage", token=token)
        with pytest.raises(InvalidArgument, match="cannot be read"):
            await issue(
                request=csr, expired=ca_pb2.ExpiredCertificate(certificate=b"x", signature=b"y")
            )
        with pytest.raises(ResourceExhausted):
            await issue(request=b"x" * 70_000, token=token)
        assert not state.nodes

    bootstrap(work)


def test_a_stranger_cannot_guess_quickly():
    async def work(issue, state):
        _, csr = request()
        for _ in range(3):
            with pytest.raises(PermissionDenied):
                await issue(request=csr, token=TRUST.root.worker_token[:-3] + "000")
        with pytest.raises(ResourceExhausted, match="too many requests"):
            await issue(request=csr, token=TRUST.root.worker_token)

    bootstrap(work, limit=RateLimit(each=Rate(3, 0.001)))


def test_a_follower_names_the_leader():
    async def work(issue, state):
        _, csr = request()
        with pytest.raises(NotLeader) as caught:
            await issue(request=csr, token=TRUST.root.worker_token)
        assert caught.value.leader_address == "10.0.0.9:2377"

    bootstrap(work, MemoryCAState(TRUST, is_leader=False, leader_address="10.0.0.9:2377"))


def test_an_expired_certificate_counts_with_a_signature_of_its_key_only():
    expired = TRUST.node("n1", life_seconds=60, age_seconds=120)
    other = TRUST.node("n1", life_seconds=60, age_seconds=120)
    foreign = Trust().node("n1", life_seconds=60, age_seconds=120)
    state = MemoryCAState(TRUST)
    state.nodes["n1"] = Node(id="n1", certificate_serial=expired.identity.serial)

    async def work(issue, state):
        key, csr = request()

        def proof(credentials, data):
            signature = x509.sign(credentials.key_pem, data)
            return ca_pb2.ExpiredCertificate(
                certificate=expired.certificate_pem, signature=signature
            )

        with pytest.raises(PermissionDenied, match="not signed"):
            await issue(request=csr, expired=proof(other, csr))
        with pytest.raises(PermissionDenied, match="not signed"):
            await issue(request=csr, expired=proof(expired, request()[1]))
        shown = ca_pb2.ExpiredCertificate(
            certificate=foreign.certificate_pem, signature=x509.sign(foreign.key_pem, csr)
        )
        with pytest.raises(PermissionDenied, match="not one of this swarm's root"):
            await issue(request=csr, expired=shown)
        answer = await issue(request=csr, expired=proof(expired, csr))
        assert Credentials(answer.certificate, key, b"").identity.node_id == "n1"

    bootstrap(work, state)


def test_the_bootstrap_services_are_not_on_the_main_port_and_renewal_needs_a_certificate():
    async def main():
        async with authority_on_loopback(MemoryCAState(TRUST)) as ca:
            root = TRUST.root.certificate_pem
            async with trusting_channel(ca.address, root, MANAGER) as channel:
                with pytest.raises(Unavailable), swarm_errors():
                    await ca_pb2_grpc.BootstrapStub(channel).GetRootCertificate(
                        ca_pb2.RootCertificateRequest(), timeout=SECONDS
                    )
            async with secure_channel(ca.address, TRUST.node("w1")) as channel:
                stub = ca_pb2_grpc.NodeCAStub(channel)
                with pytest.raises(PermissionDenied, match="not a member"), swarm_errors():
                    await stub.RenewCertificate(
                        ca_pb2.RenewCertificateRequest(request=request()[1]), timeout=SECONDS
                    )

    asyncio.run(main())


def test_every_method_for_members_has_its_line_in_the_table():
    from manager.ca.server import NODE_CA_ACCESS

    service = ca_pb2.DESCRIPTOR.services_by_name["NodeCA"]
    assert sorted(NODE_CA_ACCESS) == methods([service])


def test_a_rotated_token_is_refused_and_the_new_one_and_the_other_role_s_are_taken():
    trust = Trust()
    state = MemoryCAState(trust)
    old = trust.root

    async def main():
        async with authority_on_loopback(state) as ca:
            host, port = ca.address.split(":")
            address = f"{host}:{int(port) + 1}"
            async with trusting_channel(address, old.certificate_pem, MANAGER) as channel:
                stub = ca_pb2_grpc.BootstrapStub(channel)

                async def issue(token):
                    fields = {"request": request()[1], "token": token, "hostname": "host7"}
                    with swarm_errors():
                        message = ca_pb2.IssueCertificateRequest(**fields)
                        return await stub.IssueCertificate(message, timeout=SECONDS)

                await issue(old.worker_token)
                trust.root = rotate_token(old, NodeRole.WORKER, os.urandom(ID_BYTES))
                with pytest.raises(PermissionDenied, match="wrong or was rotated"):
                    await issue(old.worker_token)
                await issue(trust.root.worker_token)
                await issue(old.manager_token)

    asyncio.run(main())
