"""The bootstrap listener is bounded; the unix socket is its owner's."""

import asyncio
import os
import socket
import stat

import grpc
import pytest

from pyswarm.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
)
from pyswarm.model.states import NodeRole
from pyswarm.rpc import (
    MANAGER,
    Rate,
    RateLimit,
    bootstrap_server,
    caller_or_none,
    local_channel,
    local_server,
    swarm_errors,
    trusting_channel,
)

SECONDS = 30


async def answer(request, context):
    if request == b"slow":
        await asyncio.Event().wait()
    assert caller_or_none() is None
    return request[:10]


def handlers():
    return (
        grpc.method_handlers_generic_handler(
            "test.Echo", {"Answer": grpc.unary_unary_rpc_method_handler(answer)}
        ),
    )


async def call(channel, request=b"hello"):
    with swarm_errors():
        return await channel.unary_unary("/test.Echo/Answer")(request, timeout=SECONDS)


def bootstrap(trust, work, **options):
    async def main():
        manager = trust.node("m1", NodeRole.MANAGER)
        bound = bootstrap_server("127.0.0.1:0", lambda: manager, **options)
        bound.server.add_generic_rpc_handlers(handlers())
        await bound.server.start()
        root = trust.root.certificate_pem
        try:
            async with trusting_channel(f"127.0.0.1:{bound.port}", root, MANAGER) as channel:
                await work(channel)
        finally:
            await bound.server.stop(0)

    asyncio.run(main())


def test_a_stranger_reaches_the_bootstrap_listener_without_a_certificate(trust):
    async def work(channel):
        assert await call(channel) == b"hello"

    bootstrap(trust, work)


def test_a_stranger_that_asks_too_often_is_told_to_wait(trust):
    async def work(channel):
        await call(channel)
        await call(channel)
        with pytest.raises(ResourceExhausted, match=r"too many requests from 127\.0\.0\.1"):
            await call(channel)

    bootstrap(trust, work, limit=RateLimit(each=Rate(2, 0.001)))


def test_a_large_message_of_a_stranger_is_refused(trust):
    async def work(channel):
        assert await call(channel, b"x" * 60_000)
        with pytest.raises(ResourceExhausted):
            await call(channel, b"x" * 70_000)

    bootstrap(trust, work)


def test_a_call_of_a_stranger_ends_in_bounded_time(trust):
    async def work(channel):
        with pytest.raises(DeadlineExceeded, match=r"within 0\.1 s"):
            await call(channel, b"slow")

    bootstrap(trust, work, call_seconds=0.1)


def test_a_port_that_is_taken_is_named(trust):
    async def work(channel):
        manager = trust.node("m1", NodeRole.MANAGER)
        with socket.create_server(("127.0.0.1", 0)) as other:
            address = f"127.0.0.1:{other.getsockname()[1]}"
            with pytest.raises(FailedPrecondition, match=f"cannot listen on {address}"):
                bootstrap_server(address, lambda: manager)

    bootstrap(trust, work)


async def serving(path, work):
    server = local_server(path)
    server.add_generic_rpc_handlers(handlers())
    await server.start()
    try:
        async with local_channel(str(path)) as channel:
            await work(channel)
    finally:
        await server.stop(0)


def test_the_socket_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "s"

    async def work(channel):
        assert await call(channel) == b"hello"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    before = os.umask(0)
    try:
        asyncio.run(serving(path, work))
        assert os.umask(0) == 0
    finally:
        os.umask(before)


def test_the_socket_of_a_killed_daemon_is_replaced(tmp_path):
    path = tmp_path / "s"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()

    async def work(channel):
        assert await call(channel) == b"hello"

    asyncio.run(serving(path, work))


def test_a_socket_on_which_somebody_answers_is_left_alone(tmp_path):
    path = tmp_path / "s"

    async def work(channel):
        with pytest.raises(FailedPrecondition, match="another daemon answers"):
            local_server(path)
        assert await call(channel) == b"hello"

    asyncio.run(serving(path, work))


def test_a_file_in_the_way_is_not_removed(tmp_path):
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(FailedPrecondition, match="in the way"):
        local_server(path)
    assert path.read_text() == "precious"


def test_a_path_that_is_too_long_or_has_no_directory_is_refused(tmp_path):
    with pytest.raises(InvalidArgument, match="107 bytes"):
        local_server(tmp_path / ("x" * 107))

    async def main():
        with pytest.raises(FailedPrecondition, match="cannot make the socket"):
            local_server(tmp_path / "nowhere" / "s")

    asyncio.run(main())
