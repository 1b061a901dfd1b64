"""The root of a small swarm is rotated: real TLS, real keepers, a store, no containers.

Each node is a keeper. Its session with the managers is two lines here: what it hears is
`Keeper.trust`, what it says of itself goes into its record.
"""

import asyncio
import itertools
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from certs import x509
from certs.authority import digest_of
from certs.client import join
from certs.disk import CertificateDirectory
from certs.driver import Keeper
from manager.ca import driver
from manager.ca.client import ExternalSigner
from manager.ca.driver import RootKeeper, StoredCAState
from pyswarm.aio import Supervisor
from pyswarm.api.v1 import ca_pb2, ca_pb2_grpc
from pyswarm.errors import InvalidArgument, PermissionDenied, Unavailable
from pyswarm.model import Cluster, ExternalCA, Node, NodeRole
from pyswarm.rpc import secure_channel, swarm_errors
from pyswarm.testing.authority import MemoryCAState, authority_on_loopback
from pyswarm.testing.cfssl import cfssl
from pyswarm.testing.store import instant_store
from pyswarm.testing.trust import Trust

SECONDS = 30
NAMES = ("m1", "w1", "w2")


class Swarm:
    """One manager and two workers."""

    def __init__(self, tmp_path, supervisor):
        self.trust = Trust()
        self.path, self.supervisor = tmp_path, supervisor
        self.store = instant_store(time.time)
        self.keepers = {}
        self.manager = self.trust.node("m1", NodeRole.MANAGER)
        self.signer = ExternalSigner(lambda: self.manager)
        self.roots = RootKeeper(self.store, self.signer)

    @property
    def root(self):
        return self.store.view.cluster.root_ca

    async def begin(self):
        def first(tx):
            tx.put(Cluster(id=self.trust.cluster_id, root_ca=self.trust.root))
            for name in NAMES:
                tx.put(Node(id=name, role=NodeRole.MANAGER if name == "m1" else NodeRole.WORKER))

        await self.store.update(first)
        self.supervisor.start(driver.run(self.store), "end of rotations")

    def start(self, name, address, credentials):
        directory = CertificateDirectory(self.path / name)
        directory.store(credentials)
        keeper = Keeper(directory, credentials, lambda: [address])
        self.keepers[name] = keeper
        self.supervisor.start(keeper.run(), name)
        self.supervisor.start(self._session(name, keeper), f"session of {name}")

    async def _session(self, name, keeper):
        while True:
            keeper.trust(self.root.trusted_pem)
            shown = keeper.current()
            root = x509.issuing_root(shown.certificate_pem, shown.root_pem)
            said = {
                "certificate_root": digest_of(root),
                "trusted_roots": tuple(digest_of(each) for each in x509.split(shown.root_pem)),
            }
            node = self.store.view.get(Node, name)
            if node.description != replace(node.description, **said):
                fresh = replace(node.description, **said)
                await self.store.update(
                    lambda tx: tx.put(replace(tx.require(Node, name), description=fresh))  # noqa: B023
                )
            await asyncio.sleep(0.01)

    async def until(self, condition):
        async with asyncio.timeout(SECONDS):
            while not condition():
                await asyncio.sleep(0.01)

    async def settled(self):
        """Wait until the rotation is over and each node trusts the one root."""
        await self.until(lambda: self.root.rotation is None)
        alone = (self.root.digest,)
        described = [self.store.view.get(Node, name) for name in self.keepers]
        await self.until(
            lambda: all(
                self.store.view.get(Node, n.id).description.trusted_roots == alone
                for n in described
            )
        )


@asynccontextmanager
async def swarm(tmp_path, names=NAMES):
    async with Supervisor("test") as supervisor:
        made = Swarm(tmp_path, supervisor)
        await made.begin()
        state = StoredCAState(made.store, lambda: True, lambda: "")
        async with authority_on_loopback(state, credentials=made.manager) as ca:
            made.address = ca.address
            for name in names:
                role = NodeRole.MANAGER if name == "m1" else NodeRole.WORKER
                credentials = made.manager if name == "m1" else made.trust.node(name, role)
                made.start(name, ca.address, credentials)
            made.keepers["m1"].on_change(lambda fresh: setattr(ca, "credentials", fresh))
            yield made


def test_every_node_gets_a_certificate_of_the_new_root_and_the_old_one_goes(tmp_path):
    async def main():
        async with swarm(tmp_path) as made:
            old = made.root
            await made.roots.rotate(b"", b"", [], 0)
            during = made.root
            await made.settled()
            assert made.root.digest == during.rotation.digest != old.digest
            for name, keeper in made.keepers.items():
                credentials = keeper.current()
                x509.check_issued_by(credentials.certificate_pem, made.root.certificate_pem)
                assert credentials.root_pem == made.root.certificate_pem
                assert credentials.identity.node_id == name
                assert CertificateDirectory(tmp_path / name).load().identity == credentials.identity
            with pytest.raises(PermissionDenied, match="another swarm"):
                await join([made.address], old.worker_token, "host7")
            joined = await join([made.address], made.root.worker_token, "host7")
            assert joined.root_pem == made.root.certificate_pem

    asyncio.run(main())


def test_during_the_rotation_a_node_joins_with_the_old_token_and_counts(tmp_path):
    async def main():
        async with swarm(tmp_path, ("m1", "w1")) as made:
            await made.roots.rotate(b"", b"", [], 0)
            new = made.root.rotation.digest
            joined = await join([made.address], made.root.worker_token, "host7")
            assert digest_of(x509.issuing_root(joined.certificate_pem, joined.root_pem)) == new
            await made.until(lambda: made.store.view.get(Node, "w1").description.certificate_root)
            assert made.root.rotation is not None, "w2 and the new node have said nothing yet"
            name = joined.identity.node_id
            made.start(name, made.address, joined)
            made.start("w2", made.address, made.trust.node("w2"))
            await made.settled()
            assert made.root.digest == new

    asyncio.run(main())


def test_a_second_rotation_takes_the_place_of_the_first_which_could_not_end(tmp_path):
    async def main():
        async with swarm(tmp_path, ("m1", "w1")) as made:
            await made.roots.rotate(b"", b"", [], 0)
            first = made.root.rotation.digest
            said = made.store.view
            await made.until(
                lambda: (
                    made.store.view.get(Node, "w1").description.certificate_root == first
                    and made.store.view.get(Node, "m1").description.certificate_root == first
                )
            )
            assert said.get(Node, "w2").description.certificate_root == ""
            await made.roots.rotate(b"", b"", [], 0)
            second = made.root.rotation.digest
            made.start("w2", made.address, made.trust.node("w2"))
            await made.settled()
            assert made.root.digest == second != first

    asyncio.run(main())


def test_back_to_the_old_root_and_on_to_one_s_own(tmp_path):
    async def main():
        async with swarm(tmp_path, ("m1", "w1")) as made:
            old = made.root
            await made.roots.rotate(b"", b"", [], 0)
            await made.roots.rotate(old.certificate_pem, old.key_pem, [], 0)
            assert made.root == old
            key = x509.new_key()
            own = x509.new_root(key, "of the company", 7, time.time())
            with pytest.raises(InvalidArgument, match="does not belong"):
                await made.roots.rotate(own, x509.new_key(), [], 0)
            made.start("w2", made.address, made.trust.node("w2"))
            await made.roots.rotate(own, key, [], 7200.0)
            await made.settled()
            assert made.root.certificate_pem == own
            assert made.store.view.cluster.spec.certificate_life_seconds == 7200

    asyncio.run(main())


def test_to_an_external_ca_and_back_to_a_root_of_the_swarm_that_it_cross_signs(tmp_path):
    async def main():
        async with swarm(tmp_path) as made:
            key = x509.new_key()
            company = x509.new_root(key, "company", 7, time.time())
            # It knows the managers by the old root now, and by its own later.
            clients = made.root.certificate_pem + company
            with cfssl(company, key, clients) as authority:
                made.manager = made.trust.node("m1", NodeRole.MANAGER)
                there = ExternalCA(url=authority.url, certificate_pem=company)
                await made.roots.rotate(company, b"", [there], 0)
                await made.settled()
                assert made.root.certificate_pem == company
                assert not made.root.key_pem
                assert made.store.view.cluster.spec.external_cas == (there,)
                assert {body["subject"]["CN"] for body in authority.requests} == set(NAMES)
                made.manager = made.keepers["m1"].current()
                await made.roots.rotate(b"", b"", [], 0)
                assert authority.requests[-1]["profile"] == "CA"
                await made.settled()
                assert made.root.key_pem
                assert made.store.view.cluster.spec.external_cas == ()

    asyncio.run(main())


def stages():
    """Credentials of a manager on its way: before, with a first new root, with a second that
    takes its place, and at the end."""
    trust = Trust()
    made = {"before": trust.node("m1", NodeRole.MANAGER)}
    trust.begin_rotation()
    made["first"] = trust.node("m1", NodeRole.MANAGER)
    trust.begin_rotation()
    made["second"] = trust.node("m1", NodeRole.MANAGER)
    made["end"] = replace(made["second"], root_pem=trust.root.rotation.certificate_pem)
    return trust, made


def test_nodes_understand_one_another_whichever_step_each_has_reached():
    # Only the end and what has not reached the second root do not meet: hence all have to.
    apart = {frozenset(("before", "end")), frozenset(("first", "end"))}

    async def met(address, credentials):
        async with secure_channel(address, credentials) as channel:
            try:
                with swarm_errors():
                    await ca_pb2_grpc.NodeCAStub(channel).RenewCertificate(
                        ca_pb2.RenewCertificateRequest(), timeout=SECONDS
                    )
            except (InvalidArgument, PermissionDenied):
                return True
            except Unavailable:
                return False
            raise AssertionError("an empty request was signed")

    async def main():
        trust, made = stages()
        async with authority_on_loopback(MemoryCAState(trust)) as ca:
            for server, client in itertools.product(made, made):
                ca.credentials = made[server]
                together = await met(ca.address, made[client])
                assert together is (frozenset((server, client)) not in apart), (server, client)

    asyncio.run(main())
