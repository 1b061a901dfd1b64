"""An error arrives as it left."""

import asyncio
import logging

import pytest

from pyswarm.errors import NotFound, NotLeader, SwarmError, Unavailable
from pyswarm.rpc import secure_channel, swarm_errors

SECONDS = 30


def failing(serve, request):
    async def main():
        async with (
            serve() as served,
            secure_channel(served.address, served.trust.node("w1")) as channel,
        ):
            with swarm_errors(served.address):
                await channel.unary_unary("/test.Echo/Fail")(request, timeout=SECONDS)

    return main()


def test_class_and_sentence_survive(serve):
    with pytest.raises(NotFound) as caught:
        asyncio.run(failing(serve, b"missing"))
    assert caught.value.message == "there is no such thing: größer"


def test_not_leader_brings_the_leaders_address(serve):
    with pytest.raises(NotLeader) as caught:
        asyncio.run(failing(serve, b"leader"))
    assert caught.value.leader_address == "10.0.0.2:2377"


def test_a_bug_is_logged_there_and_says_little_here(serve, caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(SwarmError) as caught:
        asyncio.run(failing(serve, b"bug"))
    assert "a bug" not in caught.value.message
    assert "/test.Echo/Fail failed on an internal error" in caught.value.message
    assert "ZeroDivisionError: a bug" in caplog.text


def test_an_error_in_the_middle_of_a_stream_arrives(serve):
    async def main():
        async with (
            serve() as served,
            secure_channel(served.address, served.trust.node("w1")) as channel,
        ):
            stream = channel.stream_stream("/test.Echo/Both")(timeout=SECONDS)
            await stream.write(b"x")
            assert await stream.read() == b"x"
            await stream.write(b"leader")
            with pytest.raises(NotLeader) as caught, swarm_errors():
                await stream.read()
            assert caught.value.leader_address == ""

    asyncio.run(main())


def test_a_server_that_is_not_there_is_named(trust):
    async def main():
        async with secure_channel("127.0.0.1:1", trust.node("w1")) as channel:
            with swarm_errors("127.0.0.1:1"):
                await channel.unary_unary("/test.Echo/Who")(b"", timeout=SECONDS)

    with pytest.raises(Unavailable, match=r"no answer from 127\.0\.0\.1:1"):
        asyncio.run(main())
