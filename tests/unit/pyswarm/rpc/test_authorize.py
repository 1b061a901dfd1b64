"""Mutual TLS on loopback: who gets in, who may call what, and how a removed node is cut."""

import asyncio
import ssl

import grpc
import pytest

from pyswarm.api.v1 import control_pb2, control_pb2_grpc
from pyswarm.errors import PermissionDenied, Unavailable
from pyswarm.model.identity import node_name, role_name
from pyswarm.model.states import NodeRole
from pyswarm.rpc import MANAGER, methods, secure_channel, swarm_errors, trusting_channel
from pyswarm.testing.trust import Trust

SECONDS = 30


async def call(channel, method, request=b"", seconds=SECONDS):
    with swarm_errors():
        return await channel.unary_unary(f"/test.Echo/{method}")(request, timeout=seconds)


def test_a_member_gets_in_and_the_handler_knows_it(serve):
    async def main():
        async with serve() as served:
            worker = served.trust.node("w1", serial=0xAB)
            async with secure_channel(served.address, worker) as channel:
                assert await call(channel, "Who") == b"w1 WORKER ab"
                # The identity of one call does not leak into the next.
                assert await call(channel, "Open") == b"open"

    asyncio.run(main())


@pytest.mark.parametrize("stranger", ["nothing", "another root", "expired", "not yet valid"])
def test_a_stranger_does_not_finish_the_handshake(serve, stranger):
    async def main():
        async with serve() as served:
            root = served.trust.root.certificate_pem
            if stranger == "nothing":
                channel = trusting_channel(served.address, root, MANAGER)
            else:
                if stranger == "another root":
                    shown = Trust("swarm1").node("m1", NodeRole.MANAGER)
                    shown = type(shown)(shown.certificate_pem, shown.key_pem, root)
                elif stranger == "expired":
                    shown = served.trust.node("w1", life_seconds=60, age_seconds=120)
                else:
                    shown = served.trust.node("w1", age_seconds=-2 * 3600)
                channel = secure_channel(served.address, shown)
            async with channel:
                for method in ("Who", "Open"):
                    with pytest.raises(Unavailable):
                        await call(channel, method)

    asyncio.run(main())


def test_a_client_insists_on_the_role_or_the_node(serve):
    async def main():
        async with serve() as served:
            worker = served.trust.node("w1")
            for expect in (node_name("m1"), role_name(NodeRole.WORKER)):
                async with secure_channel(served.address, worker, expect) as channel:
                    assert await call(channel, "Open") == b"open"
            async with secure_channel(served.address, worker, node_name("m2")) as channel:
                with pytest.raises(Unavailable):
                    await call(channel, "Open")
            served.credentials = served.trust.node("w2", NodeRole.WORKER)
            async with secure_channel(served.address, worker) as channel:
                with pytest.raises(Unavailable):
                    await call(channel, "Open")

    asyncio.run(main())


def test_a_worker_is_refused_what_is_for_managers(serve):
    async def main():
        async with serve() as served:
            async with secure_channel(served.address, served.trust.node("w1")) as channel:
                with pytest.raises(PermissionDenied, match="for managers, and node w1"):
                    await call(channel, "Admin")
            manager = served.trust.node("m2", NodeRole.MANAGER)
            async with secure_channel(served.address, manager) as channel:
                assert (await call(channel, "Admin")).startswith(b"m2 MANAGER")

    asyncio.run(main())


def test_a_method_without_a_line_in_the_table_is_refused_to_everybody(serve):
    async def main():
        async with serve() as served:
            manager = served.trust.node("m2", NodeRole.MANAGER)
            async with secure_channel(served.address, manager) as channel:
                with pytest.raises(PermissionDenied, match="in no access table"):
                    await call(channel, "Forgotten")

    asyncio.run(main())


def test_a_generated_servicer_is_within_what_is_around_the_server(serve):
    async def main():
        async with serve() as served:
            manager = served.trust.node("m2", NodeRole.MANAGER)
            async with secure_channel(served.address, manager) as channel:
                stub = control_pb2_grpc.ControlStub(channel)
                # Not UNIMPLEMENTED, which the servicer itself would say.
                with pytest.raises(PermissionDenied, match="in no access table"), swarm_errors():
                    await stub.ListNodes(control_pb2.ListRequest(), timeout=SECONDS)

    asyncio.run(main())


def test_a_node_of_another_swarm_under_the_same_root_is_refused(serve):
    async def main():
        async with serve() as served:
            other = served.trust.node("w1", cluster_id="swarm2")
            async with secure_channel(served.address, other) as channel:
                with pytest.raises(PermissionDenied, match="belongs to swarm swarm2"):
                    await call(channel, "Who")

    asyncio.run(main())


def test_a_removed_node_is_refused_at_its_next_call_on_an_open_connection(serve):
    async def main():
        async with (
            serve() as served,
            secure_channel(served.address, served.trust.node("w1")) as channel,
        ):
            assert await call(channel, "Who")
            served.removed.add("w1")
            with pytest.raises(PermissionDenied, match="was removed"):
                await call(channel, "Who")

    asyncio.run(main())


def test_a_demoted_manager_is_a_worker_whatever_its_certificate_says(serve):
    async def main():
        async with serve() as served:
            old = served.trust.node("m2", NodeRole.MANAGER, serial=0xA)
            new = served.trust.node("m2", NodeRole.MANAGER, serial=0xB)
            served.demoted.add("a")
            async with secure_channel(served.address, old) as channel:
                with pytest.raises(PermissionDenied, match="node m2 was demoted"):
                    await call(channel, "Admin")
                assert await call(channel, "Who")
                assert await call(channel, "Peer"), "raft looks for itself"
            async with secure_channel(served.address, new) as channel:
                assert await call(channel, "Admin"), "promoted again"
            worker = served.trust.node("w1")
            async with secure_channel(served.address, worker) as channel:
                with pytest.raises(PermissionDenied, match="w1 is a worker"):
                    await call(channel, "Peer")

    asyncio.run(main())


def test_a_node_whose_role_changed_calls_again(serve):
    async def main():
        async with (
            serve() as served,
            secure_channel(served.address, served.trust.node("m2", NodeRole.MANAGER)) as channel,
        ):
            cut = channel.unary_stream("/test.Echo/Count")(b"3", timeout=SECONDS)
            assert [await cut.read() for _ in range(3)] == [b"m2 0", b"m2 1", b"m2 2"]
            served.authorizer.cut("m2")
            with pytest.raises(Unavailable, match="role has changed"), swarm_errors():
                await cut.read()
            assert await call(channel, "Who")

    asyncio.run(main())


def test_the_stream_of_a_removed_node_is_cut_and_others_go_on(serve):
    async def main():
        async with serve() as served:
            one, two = served.trust.node("w1"), served.trust.node("w2")
            async with (
                secure_channel(served.address, one) as first,
                secure_channel(served.address, two) as second,
            ):
                cut = first.unary_stream("/test.Echo/Count")(b"3", timeout=SECONDS)
                kept = second.stream_stream("/test.Echo/Both")(timeout=SECONDS)
                assert [await cut.read() for _ in range(3)] == [b"w1 0", b"w1 1", b"w1 2"]
                served.removed.add("w1")
                served.authorizer.cut("w1")
                with pytest.raises(PermissionDenied, match="was removed"), swarm_errors():
                    await cut.read()
                async with asyncio.timeout(SECONDS):
                    await served.echo.ended.wait()
                await kept.write(b"x")
                assert await kept.read() == b"x"
                await kept.done_writing()
                assert await kept.read() is grpc.aio.EOF
            assert not served.authorizer._running

    asyncio.run(main())


def test_a_client_that_goes_away_closes_the_generator_at_once(serve):
    async def main():
        async with serve() as served:
            async with secure_channel(served.address, served.trust.node("w1")) as channel:
                stream = channel.unary_stream("/test.Echo/Count")(b"3")
                assert await stream.read() == b"w1 0"
            async with asyncio.timeout(SECONDS):
                await served.echo.ended.wait()

    asyncio.run(main())


def test_all_four_kinds_of_calls_work_within_what_is_around_them(serve):
    async def main():
        async with (
            serve() as served,
            secure_channel(served.address, served.trust.node("w1")) as channel,
        ):
            numbers = channel.unary_stream("/test.Echo/Count")(b"2", timeout=SECONDS)
            assert [number async for number in numbers] == [b"w1 0", b"w1 1"]
            total = channel.stream_unary("/test.Echo/Sum")(iter([b"1", b"2"]), timeout=SECONDS)
            assert await total == b"3"
            both = channel.stream_stream("/test.Echo/Both")(iter([b"a", b"b"]), timeout=SECONDS)
            assert [answer async for answer in both] == [b"a", b"b"]

    asyncio.run(main())


def test_tls_1_2_is_refused_and_1_3_accepted(serve, trust, tmp_path):
    # With a good certificate, or the refusal would say nothing about the version.
    worker = trust.node("w1")
    (tmp_path / "pem").write_bytes(worker.key_pem + worker.certificate_pem)

    async def shake(port, version):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(tmp_path / "pem")
        context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(["h2"])
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        found = writer.get_extra_info("ssl_object").version()
        writer.close()
        return found

    async def main():
        async with serve() as served:
            assert await shake(served.port, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
            with pytest.raises(OSError):  # noqa: PT011 - which one depends on who closes first
                await shake(served.port, ssl.TLSVersion.TLSv1_2)

    asyncio.run(main())


def test_a_client_of_ours_refuses_a_server_of_tls_1_2(trust, tmp_path):
    async def main():
        manager = trust.node("m1", NodeRole.MANAGER)
        (tmp_path / "pem").write_bytes(manager.key_pem + manager.certificate_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "pem")
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        reached = []
        server = await asyncio.start_server(
            lambda reader, writer: reached.append(writer), "127.0.0.1", 0, ssl=context
        )
        async with server:
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with secure_channel(address, trust.node("w1")) as channel:
                with pytest.raises(Unavailable):
                    await call(channel, "Open")
        assert not reached

    asyncio.run(main())


def test_the_methods_of_a_service_are_listed_for_the_check_of_tables():
    from pyswarm.api.v1 import ca_pb2

    assert methods(ca_pb2.DESCRIPTOR.services_by_name.values()) == [
        "/pyswarm.api.v1.Bootstrap/GetRootCertificate",
        "/pyswarm.api.v1.Bootstrap/IssueCertificate",
        "/pyswarm.api.v1.NodeCA/RenewCertificate",
    ]
