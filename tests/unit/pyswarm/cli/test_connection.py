"""A stream that is followed outlives leaders and daemons."""

import asyncio

import pytest

from pyswarm.cli import connection
from pyswarm.cli.connection import Connection
from pyswarm.errors import InvalidArgument, NotLeader, Unavailable


class Streams(Connection):
    """Each stream is a list of messages and of errors in their place."""

    def __init__(self, *streams):
        self.left = list(streams)
        self.asked = 0

    async def stream(self, answers):
        for each in answers:
            if isinstance(each, Exception):
                raise each
            yield each

    def ask(self):
        self.asked += 1
        return self.left.pop(0)

    async def seen(self):
        return [message async for message in self.follow(self.ask)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(connection, "REOPEN_SECONDS", 0.0)


def test_it_is_opened_again_where_it_is_cut_off():
    streams = Streams([1, 2, NotLeader()], [Unavailable("no leader")], [3])
    assert asyncio.run(streams.seen()) == [1, 2, 3]
    assert streams.asked == 3


def test_what_is_refused_is_not_asked_for_again():
    streams = Streams([1, InvalidArgument("no such filter")], [2])
    with pytest.raises(InvalidArgument):
        asyncio.run(streams.seen())


def test_it_ends_with_the_last_reason_where_that_lasts():
    tries = connection.REOPEN_TRIES
    cut = [[Unavailable("first")]] * tries
    streams = Streams(*cut, [1, Unavailable("again")], *cut[1:], [Unavailable("last")], [2])
    with pytest.raises(Unavailable, match="last"):
        asyncio.run(streams.seen())
    assert streams.asked == 2 * tries + 1, "who has heard something begins to count anew"
