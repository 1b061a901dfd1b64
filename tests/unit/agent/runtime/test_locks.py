"""One at a time for each key; and to the end, also when cancelled."""

import asyncio

import pytest

from agent.runtime.locks import KeyedLocks, to_the_end


def test_equal_keys_wait_for_each_other_and_nothing_is_kept():
    async def scenario():
        locks, inside, most = KeyedLocks(), [], {}

        async def work(key):
            async with locks.hold(key):
                inside.append(key)
                most[key] = max(most.get(key, 0), inside.count(key))
                await asyncio.sleep(0)
                inside.remove(key)

        await asyncio.gather(*(work(key) for key in "aabba"))
        return most, locks._locks

    assert asyncio.run(scenario()) == ({"a": 1, "b": 1}, {})


def test_a_cancelled_caller_hears_of_it_when_the_work_is_done():
    async def scenario():
        gate, done = asyncio.Event(), []

        async def work():
            await gate.wait()
            done.append(True)

        caller = asyncio.ensure_future(to_the_end(work()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        caller.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not caller.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await caller
        return done

    assert asyncio.run(scenario()) == [True]


def test_results_and_errors_come_through_as_they_are():
    async def good():
        return None

    async def bad():
        raise ValueError("x")

    async def scenario():
        assert await to_the_end(good()) is None
        with pytest.raises(ValueError, match="x"):
            await to_the_end(bad())

    asyncio.run(scenario())
