"""A pipe is bounded, and an end is an end for both sides."""

import asyncio

import pytest

from pyswarm.aio import Closed, Pipe


def test_what_was_put_before_the_end_still_comes():
    async def told():
        pipe = Pipe(4)
        await pipe.put(1)
        await pipe.put(2)
        pipe.close()
        return [item async for item in pipe]

    assert asyncio.run(told()) == [1, 2]


def test_a_writer_waits_for_room():
    async def told():
        pipe = Pipe(1)
        await pipe.put(1)
        second = asyncio.ensure_future(pipe.put(2))
        await asyncio.sleep(0)
        assert not second.done()
        assert await pipe.get() == 1
        await second
        return await pipe.get()

    assert asyncio.run(told()) == 2


def test_the_end_wakes_whoever_waits():
    async def told():
        full, empty = Pipe(1), Pipe(1)
        await full.put(1)
        waiting = [asyncio.ensure_future(full.put(2)), asyncio.ensure_future(empty.get())]
        await asyncio.sleep(0)
        full.close()
        empty.close()
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(each) for each in asyncio.run(told())] == [Closed, Closed]


def test_nothing_goes_into_a_closed_pipe():
    async def told():
        pipe = Pipe(1)
        pipe.close()
        with pytest.raises(Closed):
            await pipe.put(1)

    asyncio.run(told())
