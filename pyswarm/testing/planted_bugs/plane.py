"""Bugs of the control plane, from the store to the agents; `testing.plane` has to find them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import agent.driver
import manager.dispatcher.assignments
import manager.dispatcher.server
import manager.orchestrator.driver
import manager.orchestrator.reaper
import manager.orchestrator.update
import manager.state.apply
import manager.state.driver
import manager.state.store
from agent.assignments import AssignmentChange, AssignmentNews, Assignments
from manager.dispatcher.server import Dispatcher
from manager.orchestrator.slots import Draft
from manager.state.changes import Change, Put
from manager.state.driver import Store
from manager.state.tables import View
from pyswarm.model import Meta, Task, TaskState, is_terminal
from pyswarm.model.ids import ID_LENGTH, base36
from pyswarm.testing.plane.world import STORM, run_seed
from pyswarm.testing.planted_bugs import Bug, Seeds, patched

FAULTS = replace(STORM, seconds=40.0)


def storms(first: int) -> Seeds:
    """Seeds of the storm, from the one that finds the bug at once."""
    return Seeds(
        f"python -m pyswarm.testing.plane --faults {FAULTS.name} --seconds {FAULTS.seconds:g}",
        lambda seed: run_seed(seed, FAULTS),
        first,
    )


Plant = Callable[[], AbstractContextManager[None]]


def an_address_too_early() -> AbstractContextManager[None]:
    holds = manager.state.apply._task_addresses

    def early(task: Task | None) -> Any:
        gone = task is not None and task.desired_state > TaskState.RUNNING
        return () if gone else holds(task)

    return patched((manager.state.apply, "_task_addresses", early))


def other_bytes() -> AbstractContextManager[None]:
    stamp = manager.state.store._stamp
    clock = manager.state.driver.time

    def local(change: Change, index: int) -> Change:
        stamped = stamp(change, index)
        if not isinstance(stamped, Put):
            return stamped
        record: Any = stamped.record
        now = manager.state.driver.time.time() if clock is time else 0.0
        meta = Meta(version=index, created_at=record.meta.created_at, updated_at=now)
        return Put(replace(record, meta=meta))

    return patched((manager.state.store, "_stamp", local))


def a_lost_link() -> AbstractContextManager[None]:
    return patched((manager.state.store, "follows", lambda view, chain: True))


def a_stale_head() -> AbstractContextManager[None]:
    return patched((Store, "reset_head", lambda self: None))


def an_early_answer() -> AbstractContextManager[None]:
    propose = Store._propose

    async def hasty(self: Store, tx: Any, timeout: float) -> bool:
        work = asyncio.get_running_loop().create_task(propose(self, tx, timeout))
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.sleep(0)
        return True

    return patched((Store, "_propose", hasty))


def half_a_snapshot() -> AbstractContextManager[None]:
    decode = manager.state.driver.decode_snapshot

    def forgetful(data: bytes) -> View:
        view = decode(data)
        view.sequence = 0
        return view

    return patched((manager.state.driver, "decode_snapshot", forgetful))


def a_state_that_goes_back() -> AbstractContextManager[None]:
    return patched((manager.dispatcher.server, "newer_status", lambda old, new: new != old))


def ids_from_the_beginning() -> AbstractContextManager[None]:
    def counted() -> Iterator[str]:
        return (base36(number, ID_LENGTH) for number in itertools.count(1))

    return patched((manager.orchestrator.driver, "random_ids", counted))


def a_new_task_beside_the_old() -> AbstractContextManager[None]:
    return patched((manager.orchestrator.update, "STOP_SECONDS", float("-inf")))


def a_record_that_still_runs() -> AbstractContextManager[None]:
    return patched((manager.orchestrator.reaper, "_is_over", lambda draft, task: True))


def a_record_that_never_was() -> AbstractContextManager[None]:
    def delete(self: Draft, task: Task) -> None:
        del self.tasks[task.id]
        self._changed.pop(task.id, None)
        self._deleted[task.id] = None
        self.slot(task.slot or task.node_id).tasks.pop(task.id, None)

    return patched((Draft, "delete", delete))


def a_wish_that_is_not_sent() -> AbstractContextManager[None]:
    def key(task: Task) -> Any:
        return (int(is_terminal(task.status.state)), task.start_after, task.spec_version)

    return patched((manager.dispatcher.assignments, "_task_key", key))


def a_dispatcher_that_stays_open() -> AbstractContextManager[None]:
    async def stay(self: Dispatcher) -> None:
        return

    return patched((Dispatcher, "close", stay))


def silence_heard_once() -> AbstractContextManager[None]:
    async def watch(self: Dispatcher) -> None:
        while True:
            down = self._sessions.tick(self._context.monotonic())
            if down:
                await self._down({event.node_id: event.message for event in down})
            await asyncio.sleep(0.25)

    return patched((Dispatcher, "_watch_silence", watch))


def a_stray_that_runs_on() -> AbstractContextManager[None]:
    apply = Assignments.apply

    def keep(self: Assignments, news: AssignmentNews) -> AssignmentChange | None:
        if not news.complete:
            return apply(self, news)
        before = dict(self.tasks)
        change = apply(self, news)
        self.tasks = before | self.tasks
        return change and replace(change, removed=())

    return patched((Assignments, "apply", keep))


BUGS = [
    Bug(name, sentence, plant, storms(first))
    for name, sentence, plant, first in (
        (
            "address_too_early",
            "An address is given to the next task while the container of the last one still stops.",
            an_address_too_early,
            1,
        ),
        (
            "other_bytes",
            "Each manager writes its own time into a record when it applies an entry.",
            other_bytes,
            1,
        ),
        (
            "lost_link",
            "A change counts although the one that it was computed on was lost.",
            a_lost_link,
            1,
        ),
        (
            "stale_head",
            "A leader goes on from proposals of which it does not know that they were lost.",
            a_stale_head,
            1,
        ),
        (
            "early_answer",
            "A write is acknowledged when it is proposed, not when it is committed.",
            an_early_answer,
            1,
        ),
        (
            "half_a_snapshot",
            "A state that is read from a snapshot has forgotten its place in the chain of changes.",
            half_a_snapshot,
            1,
        ),
        (
            "state_goes_back",
            "A late report of an agent overwrites a newer one.",
            a_state_that_goes_back,
            1,
        ),
        (
            "ids_again",
            "Each leader numbers its tasks from one.",
            ids_from_the_beginning,
            1,
        ),
        (
            "beside_the_old",
            "A stop-first update lets the new task run before the old one has ended.",
            a_new_task_beside_the_old,
            1,
        ),
        (
            "record_that_runs",
            "The record of a task is removed while its container still stops.",
            a_record_that_still_runs,
            1,
        ),
        (
            "record_that_never_was",
            "A task that is made and given up in one round is deleted, though it was never stored.",
            a_record_that_never_was,
            1,
        ),
        (
            "wish_not_sent",
            "The dispatcher does not tell an agent that the wish for a task has changed.",
            a_wish_that_is_not_sent,
            1,
        ),
        (
            "dispatcher_stays_open",
            "A manager that no longer leads keeps its agents and tells them what it knows.",
            a_dispatcher_that_stays_open,
            1,
        ),
        (
            "silence_once",
            "One failed write ends the watch over silent nodes.",
            silence_heard_once,
            1,
        ),
        (
            "stray_runs_on",
            "An agent that was away goes on with the tasks that the managers have forgotten.",
            a_stray_that_runs_on,
            1,
        ),
    )
]
"""All bugs of this catalogue."""
