"""Lines of several sources come in the order of time, whoever is slow; on virtual time."""

import asyncio

from pyswarm.aio import OrderedMerge
from pyswarm.testing.plane.loop import ProcessLoop, Timeline

HOLD = 0.3


def story(told):
    """Run to the end on virtual time; what it answers."""
    timeline = Timeline()
    task = ProcessLoop(timeline).start(told(), "story")
    timeline.run(600.0)
    return task.result()


def test_what_is_there_comes_in_the_order_of_time():
    async def told():
        merge = OrderedMerge(HOLD, 10)
        for times in ((1, 4, 5), (2, 3, 6)):
            source = merge.add()
            for time in times:
                await source.put(time, time)
            source.end()
        return await merge.take(10, 1.0), merge.is_over

    assert story(told) == ([1, 2, 3, 4, 5, 6], True)


def test_a_source_that_has_not_caught_up_is_waited_for():
    async def told():
        merge = OrderedMerge(HOLD, 10)
        quick, slow = merge.add(), merge.add()
        await quick.put(2, "quick")
        early = await merge.take(10, 1.0)
        assert merge.blocking() == [slow]
        await slow.put(1, "slow")
        quick.end()
        slow.end()
        return early, await merge.take(10, 1.0)

    assert story(told) == ([], ["slow", "quick"])


def test_one_that_has_caught_up_is_waited_for_a_moment():
    async def told():
        loop = asyncio.get_running_loop()
        merge = OrderedMerge(HOLD, 10)
        quiet, busy = merge.add(), merge.add()
        quiet.caught_up()
        busy.caught_up()
        assert await merge.take(10, 1.0) == []  # the news that all have caught up
        begun = loop.time()
        await busy.put(2, "busy")
        lines = await merge.take(10, 10.0)
        return lines, round(loop.time() - begun, 6)

    assert story(told) == (["busy"], HOLD)


def test_an_older_line_that_comes_within_the_moment_goes_first():
    async def told():
        merge = OrderedMerge(HOLD, 10)
        here, there = merge.add(), merge.add()
        here.caught_up()
        there.caught_up()
        await merge.take(10, 1.0)
        await here.put(2, "here")
        await asyncio.sleep(HOLD / 2)
        await there.put(1, "there")
        lines = await merge.take(10, 10.0)
        return lines + await merge.take(10, 10.0)

    assert story(told) == ["there", "here"]


def test_a_clock_that_was_set_back_does_not_turn_a_source_around():
    async def told():
        merge = OrderedMerge(HOLD, 10)
        source = merge.add()
        for time, line in ((5, "first"), (3, "second"), (6, "third")):
            await source.put(time, line)
        source.end()
        return await merge.take(10, 1.0)

    assert story(told) == ["first", "second", "third"]


def test_a_slow_reader_holds_its_sources_up():
    async def told():
        merge = OrderedMerge(HOLD, 2)
        source, given = merge.add(), []

        async def give():
            for time in range(5):
                await source.put(time, time)
                given.append(time)
            source.end()

        giver = asyncio.ensure_future(give())
        await asyncio.sleep(1.0)
        at_first = list(given)
        lines = []
        while not merge.is_over:
            lines += await merge.take(10, 1.0)
        await giver
        return at_first, lines

    assert story(told) == ([0, 1], [0, 1, 2, 3, 4])
