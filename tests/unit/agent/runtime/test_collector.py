"""FIFOs to files to readers, on the real kernel, without containerd."""

import asyncio
import os
import time

from agent.runtime import logreader
from agent.runtime.collector import Collector
from agent.runtime.logplan import LogPlan, Rotation
from agent.runtime.logreader import Joiner


async def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def lines(collector, container_id, **options):
    options = {"follow": False, "last": -1, "since": 0.0} | options
    found = logreader.read(collector, container_id, **options)
    return [line.data async for line in found if line is not None]


def started(tmp_path):
    collector = Collector(tmp_path / "fifo", tmp_path / "logs")
    collector.start()
    return collector


def shim(path):
    """What a shim holds: both ends."""
    return os.open(path, os.O_RDWR)


def test_output_waits_in_the_pipe_for_the_next_daemon(tmp_path):
    async def scenario():
        collector = started(tmp_path)
        stdout, stderr = collector.open("c", LogPlan(), False)
        held = [shim(stdout), shim(stderr)]
        os.write(held[0], b"one\n")
        await until(lambda: (tmp_path / "logs/c/output.log").stat().st_size)
        await collector.close()
        os.write(held[0], b"two\n" * 1000)
        os.write(held[1], b"three")
        collector = started(tmp_path)
        assert collector.is_open("c")
        await collector.finish("c")
        assert not collector.is_open("c")
        found = await lines(collector, "c", follow=True)
        await collector.close()
        for descriptor in held:
            os.close(descriptor)
        return found, list((tmp_path / "fifo").iterdir())

    found, left = asyncio.run(scenario())
    assert found[0] == b"one"
    assert sorted(found[1:]) == [b"three", *[b"two"] * 1000]
    assert left == []


def test_the_pipes_of_a_container_that_is_gone_are_over(tmp_path):
    async def scenario():
        collector = started(tmp_path)
        collector.open("c", LogPlan(), True)
        await collector.close()
        collector = started(tmp_path)
        await until(lambda: not collector.is_open("c"))
        found = await lines(collector, "c", follow=True)
        await collector.close()
        return found

    assert asyncio.run(scenario()) == []


def test_a_follower_reads_through_rotations_to_the_end(tmp_path):
    async def scenario():
        collector = started(tmp_path)
        stdout, _ = collector.open("c", LogPlan(rotation=Rotation(4000, 50)), True)
        held = shim(stdout)
        following = asyncio.ensure_future(lines(collector, "c", follow=True))
        for number in range(500):
            os.write(held, b"%d\n" % number)
            if number % 50 == 0:
                await asyncio.sleep(0)
        os.close(held)
        found = await asyncio.wait_for(following, 30)
        await collector.finish("c")
        await collector.close()
        return found

    assert asyncio.run(scenario()) == [b"%d" % number for number in range(500)]


def test_a_new_fifo_without_a_writer_is_not_over(tmp_path):
    async def scenario():
        collector = started(tmp_path)
        stdout, _ = collector.open("c", LogPlan(), True)
        await asyncio.to_thread(lambda: None)
        held = shim(stdout)
        os.write(held, b"late\n")
        os.close(held)
        await until(lambda: not collector.is_open("c"))
        found = await lines(collector, "c", last=1)
        await collector.close()
        return found

    assert asyncio.run(scenario()) == [b"late"]


def test_pieces_of_one_line_are_joined_and_torn_entries_left_out():
    joiner = Joiner()
    entry = b'{"log":"%s","stream":"%s","time":"2023-11-14T22:13:20.250000Z"}'
    assert joiner.feed(entry % (b"a", b"stdout")) is None
    assert joiner.feed(b'{"log":"torn') is None
    assert joiner.feed(entry % (b"x\\n", b"stderr")).data == b"x"
    assert joiner.feed(entry % (b"b\\n", b"stdout")).data == b"ab"
    assert joiner.feed(entry % (b"rest", b"stdout")) is None
    [rest] = joiner.end()
    assert (rest.data, rest.timestamp, rest.stderr) == (b"rest", 1_700_000_000.25, False)
