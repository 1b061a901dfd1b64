"""The journal's native protocol, against a socket that reads it as journald does."""

import asyncio
import os
import socket
import struct

import pytest

from agent.runtime import journal, logreader
from agent.runtime.collector import Collector
from agent.runtime.logplan import LogPlan
from pyswarm.errors import FailedPrecondition


def decode(data):
    """An entry's fields."""
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", data)
            value = data[8 : 8 + length]
            assert data[8 + length : 9 + length] == b"\n"
            data = data[9 + length :]
        fields[name.decode()] = value
    return fields


class FakeJournal:
    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(30)

    def entry(self):
        return decode(self.socket.recv(1 << 18))

    def close(self):
        self.socket.close()
        self.path.unlink()


@pytest.fixture
def service(tmp_path):
    made = FakeJournal(tmp_path / "socket")
    yield made
    made.socket.close()


def test_an_entry_is_decoded_as_it_was_encoded():
    fields = {"MESSAGE": b"two\nlines", "A": b"b=c", "EMPTY": b""}
    assert decode(journal.encode(fields)) == fields


def test_a_node_without_a_journal_says_so(tmp_path):
    with pytest.raises(FailedPrecondition, match=r"this node has no journal at .*No such file"):
        journal.require(tmp_path / "socket")


def test_a_containers_lines_go_into_the_journal_and_into_files(tmp_path, service):
    plan = LogPlan("journald", fields={"CONTAINER_NAME": "web.1"})

    async def scenario():
        collector = Collector(tmp_path / "fifo", tmp_path / "logs", service.path)
        collector.start()
        paths = collector.open("c", plan, False)
        held = [os.open(path, os.O_RDWR) for path in paths]
        os.write(held[0], b"one\n")
        first = await asyncio.to_thread(service.entry)
        os.write(held[1], b"rest")
        # A journal that is started again is found again.
        service.close()
        service.__init__(service.path)
        await collector.finish("c")
        second = await asyncio.to_thread(service.entry)
        lines = logreader.read(collector, "c", follow=False, last=-1, since=0.0)
        kept = [line.data async for line in lines]
        await collector.close()
        for descriptor in held:
            os.close(descriptor)
        return first, second, kept

    first, second, kept = asyncio.run(scenario())
    assert first == {"MESSAGE": b"one", "PRIORITY": b"6", "CONTAINER_NAME": b"web.1"}
    assert second == {
        "MESSAGE": b"rest",
        "PRIORITY": b"3",
        "CONTAINER_NAME": b"web.1",
        "CONTAINER_PARTIAL_MESSAGE": b"true",
    }
    assert sorted(kept) == [b"one", b"rest"]


def test_without_a_journal_a_container_is_not_begun(tmp_path):
    async def scenario():
        collector = Collector(tmp_path / "fifo", tmp_path / "logs", tmp_path / "socket")
        collector.start()
        with pytest.raises(FailedPrecondition, match="no journal"):
            collector.open("c", LogPlan("journald"), False)
        await collector.close()
        return list((tmp_path / "fifo").iterdir())

    assert asyncio.run(scenario()) == []


def test_the_driver_none_reads_and_forgets_also_after_a_restart(tmp_path):
    async def scenario():
        collector = Collector(tmp_path / "fifo", tmp_path / "logs")
        collector.start()
        stdout, _ = collector.open("c", LogPlan("none"), True)
        held = os.open(stdout, os.O_RDWR)
        os.write(held, b"x" * 100_000)
        await collector.close()
        collector = Collector(tmp_path / "fifo", tmp_path / "logs")
        collector.start()
        os.write(held, b"y\n" * 1000)
        await collector.finish("c")
        driver = collector.plan("c").driver
        await collector.close()
        os.close(held)
        return driver, sorted(path.name for path in (tmp_path / "logs/c").iterdir())

    assert asyncio.run(scenario()) == ("none", ["options.json"])
