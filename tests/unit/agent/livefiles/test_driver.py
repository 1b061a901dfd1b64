"""Files that follow a live rotation."""

import asyncio

from agent.livefiles.driver import LiveFiles
from pyswarm.errors import InvalidArgument, NotFound, Unavailable
from pyswarm.model import Task

TASK = Task(id="a" * 25)


def followed(*failures):
    """Tries until the files are right or nothing more is tried; whether they are right."""

    async def main():
        left, tries, state = list(failures), 0, {"stale": True}

        async def refresh(task):
            nonlocal tries
            tries += 1
            if left:
                raise left.pop(0)
            state["stale"] = False

        live = LiveFiles(
            is_stale=lambda task: state["stale"],
            refresh=refresh,
            current=lambda task_id: TASK if len(left) < 9 else None,
        )
        live.look(TASK)
        live.look(TASK)
        async with asyncio.timeout(10):
            while live._busy:
                await asyncio.sleep(0)
        await live.close()
        return tries, state["stale"]

    return asyncio.run(main())


def test_files_are_replaced_once():
    assert followed() == (1, False)


def test_what_may_pass_is_tried_again():
    assert followed(Unavailable("no space")) == (2, False)


def test_a_task_that_ended_or_can_never_be_right_is_left():
    assert followed(NotFound("gone")) == (1, True)
    assert followed(InvalidArgument("bad template")) == (1, True)


def test_a_task_that_does_not_run_is_left():
    assert followed(*[Unavailable("x")] * 9) == (0, True)
