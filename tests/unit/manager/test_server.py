"""Each RPC against each kind of caller, on one real manager: who is served, who is not.

served   the call reached its service, whatever that said of the empty request
refused  the manager knows the caller and does not let it
absent   nobody serves this RPC on that listener
closed   TLS ended the connection before there was a call

Bootstrap is asked on its own listener, all others on the main one.
"""

import asyncio
import importlib
import pkgutil
from contextlib import suppress

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

import manager.roles.driver
from certs.disk import CertificateDirectory
from manager.driver import Manager, ManagerConfig
from manager.server import ACCESS
from pyswarm.api import v1
from pyswarm.api.v1 import control_pb2, observe_pb2
from pyswarm.model import Cluster, ManagerStatus, Node, NodeRole, NodeSpec
from pyswarm.rpc import MANAGER, ChannelPool, Credentials, secure_channel, trusting_channel
from pyswarm.testing.authority import free_port_pair
from pyswarm.testing.trust import Trust

TABLE = """
                              none     worker   manager  removed  foreign  elsewhere
Bootstrap.GetRootCertificate  served   served   served   served   served   served
Bootstrap.IssueCertificate    served   served   served   served   served   served
NodeCA.RenewCertificate       closed   served   served   refused  closed   refused
Dispatcher.Session            closed   served   served   refused  closed   refused
Dispatcher.Heartbeat          closed   served   served   refused  closed   refused
Dispatcher.ReportStatus       closed   served   served   refused  closed   refused
Dispatcher.PublishLogs        closed   served   served   refused  closed   refused
Dispatcher.Converse           closed   served   served   refused  closed   refused
Dispatcher.ReportVolumes      closed   served   served   refused  closed   refused
Dispatcher.Answer             closed   served   served   refused  closed   refused
Membership.Leave              closed   served   served   refused  closed   refused
Membership.JoinRaft           closed   refused  served   refused  closed   refused
RaftTransport.Stream          closed   refused  served   refused  closed   refused
RaftTransport.InstallSnapshot closed   refused  served   refused  closed   refused
Control.GetCluster            closed   served   served   refused  closed   refused
Control.UpdateCluster         closed   refused  served   refused  closed   refused
Control.RotateRoot            closed   refused  served   refused  closed   refused
Control.GetJoinTokens         closed   refused  served   refused  closed   refused
Control.GetUnlockKey          closed   refused  served   refused  closed   refused
Control.ListNodes             closed   refused  served   refused  closed   refused
Control.GetNode               closed   refused  served   refused  closed   refused
Control.UpdateNode            closed   refused  served   refused  closed   refused
Control.RemoveNode            closed   refused  served   refused  closed   refused
Control.ListServices          closed   refused  served   refused  closed   refused
Control.GetService            closed   refused  served   refused  closed   refused
Control.CreateService         closed   refused  served   refused  closed   refused
Control.UpdateService         closed   refused  served   refused  closed   refused
Control.RemoveService         closed   refused  served   refused  closed   refused
Control.ListTasks             closed   refused  served   refused  closed   refused
Control.GetTask               closed   refused  served   refused  closed   refused
Control.ListNetworks          closed   refused  served   refused  closed   refused
Control.GetNetwork            closed   refused  served   refused  closed   refused
Control.CreateNetwork         closed   refused  served   refused  closed   refused
Control.RemoveNetwork         closed   refused  served   refused  closed   refused
Control.ListSecrets           closed   refused  served   refused  closed   refused
Control.GetSecret             closed   refused  served   refused  closed   refused
Control.CreateSecret          closed   refused  served   refused  closed   refused
Control.UpdateSecret          closed   refused  served   refused  closed   refused
Control.RemoveSecret          closed   refused  served   refused  closed   refused
Control.ListConfigs           closed   refused  served   refused  closed   refused
Control.GetConfig             closed   refused  served   refused  closed   refused
Control.CreateConfig          closed   refused  served   refused  closed   refused
Control.UpdateConfig          closed   refused  served   refused  closed   refused
Control.RemoveConfig          closed   refused  served   refused  closed   refused
Control.Watch                 closed   refused  served   refused  closed   refused
Control.Logs                  closed   refused  served   refused  closed   refused
Observe.Events                closed   refused  served   refused  closed   refused
Observe.Exec                  closed   refused  served   refused  closed   refused
Observe.Stats                 closed   refused  served   refused  closed   refused
Volumes.ListVolumes           closed   refused  served   refused  closed   refused
Volumes.GetVolume             closed   refused  served   refused  closed   refused
Volumes.CreateVolume          closed   refused  served   refused  closed   refused
Volumes.RemoveVolume          closed   refused  served   refused  closed   refused
Volumes.PruneVolumes          closed   refused  served   refused  closed   refused
Volumes.ReleaseVolume         closed   refused  served   refused  closed   refused
Rotation.RotateSecret         closed   refused  served   refused  closed   refused
Rotation.RotateConfig         closed   refused  served   refused  closed   refused
Rotation.ListSecretVersions   closed   refused  served   refused  closed   refused
Rotation.ListConfigVersions   closed   refused  served   refused  closed   refused
Registries.Login              closed   refused  served   refused  closed   refused
Registries.Logout             closed   refused  served   refused  closed   refused
Registries.ListCredentials    closed   refused  served   refused  closed   refused
Registries.ResolveImage       closed   refused  served   refused  closed   refused
System.DiskUsage              closed   refused  served   refused  closed   refused
System.Prune                  closed   refused  served   refused  closed   refused
Updates.SteerUpdate           closed   refused  served   refused  closed   refused
Updates.ListRevisions         closed   refused  served   refused  closed   refused
Health.Figures                closed   refused  served   refused  closed   refused
Recovery.Status               closed   absent   absent   absent   closed   absent
Recovery.Backup               closed   absent   absent   absent   closed   absent
Recovery.Restore              closed   absent   absent   absent   closed   absent
Recovery.ForceNewCluster      closed   absent   absent   absent   closed   absent
Recovery.Reconnect            closed   absent   absent   absent   closed   absent
Local.Init                    closed   absent   absent   absent   closed   absent
Local.Join                    closed   absent   absent   absent   closed   absent
Local.Leave                   closed   absent   absent   absent   closed   absent
Local.Info                    closed   absent   absent   absent   closed   absent
Local.Unlock                  closed   absent   absent   absent   closed   absent
"""
HEAD, *ROWS = (line.split() for line in TABLE.strip().splitlines())
EXPECTED = {row[0]: dict(zip(HEAD, row[1:], strict=True)) for row in ROWS}
METHODS = {
    f"{service.name}.{method.name}": method
    for module in pkgutil.iter_modules(v1.__path__)
    if module.name.endswith("_pb2")
    for service in importlib.import_module(
        f"{v1.__name__}.{module.name}"
    ).DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
# Requests that are refused by the service itself, where an empty one would do something.
# One that would follow for ever looks once.
REQUESTS = {
    "Control.RotateRoot": control_pb2.RotateRootRequest(key=b"without a certificate"),
    "Observe.Stats": observe_pb2.StatsRequest(once=True),
}
SECONDS = 30
TRUST = Trust()
MANAGING = NodeSpec(role=NodeRole.MANAGER)
ROOT = TRUST.root.certificate_pem


def callers():
    """The credentials of each kind; each trusts the server, so only the server can refuse."""
    foreign = Trust(TRUST.cluster_id).node("w1", NodeRole.MANAGER)
    return {
        "none": None,
        "worker": TRUST.node("w1"),
        "manager": TRUST.node("m2", NodeRole.MANAGER),
        "removed": TRUST.node("gone", NodeRole.MANAGER),
        "foreign": Credentials(foreign.certificate_pem, foreign.key_pem, ROOT),
        "elsewhere": TRUST.node("w1", NodeRole.MANAGER, cluster_id="swarm2"),
    }


async def running_manager(tmp_path):
    own = TRUST.node("m1", NodeRole.MANAGER)
    address = f"127.0.0.1:{free_port_pair()}"
    certificates = CertificateDirectory(tmp_path / "certificates")
    certificates.store(own)
    config = ManagerConfig(
        node_id="m1",
        cluster_id=TRUST.cluster_id,
        raft_id=1,
        address=address,
        directory=tmp_path,
        certificates=certificates,
    )
    removed = {"gone": TRUST.now + 3600}
    cluster = Cluster(id=TRUST.cluster_id, root_ca=TRUST.root, removed_nodes=removed)
    status = ManagerStatus(raft_id=1, address=address)
    node = Node(id="m1", spec=MANAGING, role=NodeRole.MANAGER, manager=status)
    pool = ChannelPool(lambda: own)
    serving = Manager(config, lambda: own, pool, (cluster, node))
    await serving.start()

    def members(tx):
        tx.put(Node(id="w1"))
        tx.put(Node(id="m2", spec=MANAGING, role=NodeRole.MANAGER))

    await serving.store.update(members)
    return serving, pool


async def outcome(channel, name):
    method = METHODS[name]
    kinds = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    answer = GetMessageClass(method.output_type)
    call = kinds[method.client_streaming, method.server_streaming](
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )
    request = REQUESTS.get(name) or GetMessageClass(method.input_type)()
    running = call(*(() if method.client_streaming else (request,)), timeout=SECONDS)
    answered = False
    # grpcio raises different things where a stream of requests finds no connection.
    with suppress(grpc.aio.AioRpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
        if method.client_streaming:
            await running.done_writing()
        if method.server_streaming:
            await running.read()
        else:
            await running
        answered = True
    code = grpc.StatusCode.OK if answered else await running.code()
    running.cancel()
    assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED), name
    return {
        grpc.StatusCode.PERMISSION_DENIED: "refused",
        grpc.StatusCode.UNAUTHENTICATED: "refused",
        grpc.StatusCode.UNIMPLEMENTED: "absent",
        grpc.StatusCode.UNAVAILABLE: "closed",
    }.get(code, "served")


def channel_to(address, credentials):
    if credentials is None:
        return trusting_channel(address, ROOT, MANAGER)
    return secure_channel(address, credentials)


def test_every_rpc_has_its_expected_answer_in_the_table():
    assert sorted(EXPECTED) == sorted(METHODS)


def test_every_rpc_gives_each_caller_the_answer_of_the_table(tmp_path, monkeypatch):
    # A manager that asks to join is dialled, and here nobody is at home.
    monkeypatch.setattr(manager.roles.driver, "REACH_SECONDS", 0.05)

    async def main():
        serving, pool = await running_manager(tmp_path)
        main_port, boot_port = serving.config.address, serving.bootstrap_address
        seen = {name: {} for name in METHODS}
        try:
            for who, credentials in callers().items():
                async with (
                    channel_to(main_port, credentials) as main,
                    channel_to(boot_port, credentials) as boot,
                ):
                    for name in sorted(METHODS):
                        channel = boot if name.startswith("Bootstrap.") else main
                        seen[name][who] = await outcome(channel, name)
        finally:
            await serving.stop(transfer=False)
            await pool.close()
        differing = {name: row for name, row in seen.items() if row != EXPECTED[name]}
        assert not differing

    asyncio.run(main())


def test_the_bootstrap_listener_serves_bootstrap_alone_and_the_main_one_does_not(tmp_path):
    async def main():
        serving, pool = await running_manager(tmp_path)
        credentials = callers()["manager"]
        try:
            async with channel_to(serving.bootstrap_address, None) as boot:
                others = [name for name in METHODS if not name.startswith("Bootstrap.")]
                assert {await outcome(boot, name) for name in others} == {"absent"}
            async with channel_to(serving.config.address, credentials) as main:
                for name in ("Bootstrap.GetRootCertificate", "Bootstrap.IssueCertificate"):
                    assert await outcome(main, name) == "absent"
        finally:
            await serving.stop(transfer=False)
            await pool.close()

    asyncio.run(main())


@pytest.mark.parametrize("word", ["GetRootCertificate", "Init"])
def test_what_is_not_for_nodes_is_in_no_line_of_the_access_table(word):
    assert not [method for method in ACCESS if method.endswith(f"/{word}")]
