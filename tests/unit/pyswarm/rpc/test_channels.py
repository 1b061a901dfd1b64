"""Channels follow the certificate, and come back soon after a server does."""

import asyncio

import grpc
import pytest

from pyswarm.errors import FailedPrecondition, InvalidArgument
from pyswarm.model.states import NodeRole
from pyswarm.rpc import ChannelPool, local_channel, secure_channel

SECONDS = 30


def who(channel):
    return channel.unary_unary("/test.Echo/Who")(b"", timeout=SECONDS)


def test_a_renewed_server_certificate_serves_new_connections_without_a_restart(serve):
    async def main():
        async with serve() as served:
            worker = served.trust.node("w1")
            async with secure_channel(served.address, worker) as old:
                await who(old)
                served.credentials = served.trust.node("m9", NodeRole.MANAGER)
                async with secure_channel(served.address, worker, "m9.node.pyswarm") as new:
                    await who(new)
                await who(old)  # The old connection goes on.

    asyncio.run(main())


def test_a_pool_opens_a_new_channel_after_a_renewal_and_closes_the_old_one_later(serve):
    async def main():
        async with serve() as served:
            current = served.trust.node("w1", serial=1)
            pool = ChannelPool(lambda: current, grace_seconds=0.2)
            old = pool.get(served.address)
            assert pool.get(served.address) is old
            assert await who(old) == b"w1 WORKER 1"
            current = served.trust.node("w1", serial=2)
            new = pool.get(served.address)
            assert new is not old
            assert await who(new) == b"w1 WORKER 2"
            assert await who(old) == b"w1 WORKER 1"
            async with asyncio.timeout(SECONDS):
                while old.get_state() is not grpc.ChannelConnectivity.SHUTDOWN:
                    await asyncio.sleep(0.02)
            await pool.close()
            assert new.get_state() is grpc.ChannelConnectivity.SHUTDOWN

    asyncio.run(main())


def test_a_pool_does_not_dial_with_a_certificate_out_of_its_time(trust):
    async def main():
        expired = trust.node("w1", life_seconds=60, age_seconds=120)
        pool = ChannelPool(lambda: expired)
        with pytest.raises(FailedPrecondition, match="this node's certificate expired at"):
            pool.get("127.0.0.1:1")
        early = ChannelPool(lambda: trust.node("w1"), clock=lambda: trust.now - 86400)
        with pytest.raises(FailedPrecondition, match="not valid before"):
            early.get("127.0.0.1:1")
        await pool.close()

    asyncio.run(main())


def test_a_dropped_address_is_closed(serve):
    async def main():
        async with serve() as served:
            credentials = served.trust.node("w1")
            pool = ChannelPool(lambda: credentials, grace_seconds=0)
            channel = pool.get(served.address)
            pool.drop(served.address)
            assert pool.get(served.address) is not channel
            await pool.close()

    asyncio.run(main())


def test_an_old_connection_is_ended_and_the_next_call_opens_another(serve):
    async def main():
        async with (
            serve(connection_age_seconds=0.5, connection_grace_seconds=0.2) as served,
            secure_channel(served.address, served.trust.node("w1")) as channel,
        ):
            stream = channel.unary_stream("/test.Echo/Count")(b"3", timeout=SECONDS)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                [answer async for answer in stream]
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            await who(channel)

    asyncio.run(main())


@pytest.mark.slow
def test_a_peer_that_falls_silent_is_noticed_long_before_tcp_would(serve):
    silent = asyncio.Event()

    async def pump(reader, writer):
        while data := await reader.read(65536):
            if not silent.is_set():
                writer.write(data)

    async def main():
        async with serve() as served, asyncio.TaskGroup() as tasks:

            async def relay(reader, writer):
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", served.port)
                ends.extend([writer, far_writer])
                pumps.append(tasks.create_task(pump(reader, far_writer)))
                pumps.append(tasks.create_task(pump(far_reader, writer)))

            pumps, ends = [], []
            server = await asyncio.start_server(relay, "127.0.0.1", 0)
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with server, secure_channel(address, served.trust.node("w1")) as channel:
                stream = channel.unary_stream("/test.Echo/Count")(b"3")
                assert [await stream.read() for _ in range(3)] == [b"w1 0", b"w1 1", b"w1 2"]
                silent.set()
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await asyncio.wait_for(stream.read(), SECONDS)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            for task in pumps:
                task.cancel()
            for end in ends:
                end.close()

    asyncio.run(main())


def test_a_socket_path_that_the_kernel_cannot_take_is_refused():
    with pytest.raises(InvalidArgument, match="longer than the 107 bytes"):
        local_channel("/" + "x" * 107)
