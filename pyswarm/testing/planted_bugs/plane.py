"""Bugs of the control plane, from the store to the agents; `testing.plane` has to find them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import manager.dispatcher.assignments
import manager.dispatcher.server
import manager.orchestrator.driver
import manager.orchestrator.jobs
import manager.orchestrator.reaper
import manager.orchestrator.update
import manager.state.apply
import manager.state.driver
import manager.state.store
from agent.assignments import AssignmentChange, AssignmentNews, Assignments
from agent.runner.driver import TaskRunner
from manager.dispatcher.draining import Draining
from manager.dispatcher.server import Dispatcher
from manager.orchestrator.slots import Draft
from manager.state.changes import Change, Put
from manager.state.driver import Store
from manager.state.snapshot import decode_snapshot
from manager.state.store import Transaction
from manager.state.tables import View
from pyswarm.errors import NotLeader
from pyswarm.model import EndpointSet, Service, Task, TaskState, is_terminal
from pyswarm.model.ids import ID_LENGTH, base36
from pyswarm.testing.plane.faults import BUSY, CUTS, ELECTIONS, LEASES, STORM, Faults
from pyswarm.testing.plane.process import wall
from pyswarm.testing.plane.world import run_seed
from pyswarm.testing.planted_bugs import Bug, Seeds, patched

SECONDS = 40.0
"""How long the faults of each seed last."""


def seeds(faults: Faults) -> Seeds:
    """Seed after seed of these faults."""
    short = replace(faults, seconds=SECONDS)
    return Seeds(
        f"python -m pyswarm.testing.plane --faults {faults.name} --seconds {SECONDS:g}",
        lambda seed: run_seed(seed, short),
        1,
    )


def _an_address_too_early() -> AbstractContextManager[None]:
    holds = manager.state.apply.task_addresses

    def early(task: Task | None) -> Any:
        gone = task is not None and not task.is_wanted
        return () if gone else holds(task)

    return patched((manager.state.apply, "task_addresses", early))


def _other_bytes() -> AbstractContextManager[None]:
    stamp = manager.state.store._stamp

    def local(change: Change, index: int) -> Change:
        stamped = stamp(change, index)
        if not isinstance(stamped, Put):
            return stamped
        record: Any = stamped.record
        return Put(replace(record, meta=replace(record.meta, updated_at=wall())))

    return patched((manager.state.store, "_stamp", local))


def _acts_without_leading() -> AbstractContextManager[None]:
    propose = Store._propose

    async def stubborn(self: Store, tx: Transaction, timeout: float) -> bool:
        try:
            return await propose(self, tx, timeout)
        except NotLeader:
            self.view = tx.view
            return True

    return patched((Store, "_propose", stubborn))


def _a_stale_head() -> AbstractContextManager[None]:
    return patched((Store, "reset_head", lambda self: None))


def _an_early_answer() -> AbstractContextManager[None]:
    propose = Store._propose

    async def hasty(self: Store, tx: Transaction, timeout: float) -> bool:
        work = asyncio.get_running_loop().create_task(propose(self, tx, timeout))
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.sleep(0)
        return True

    return patched((Store, "_propose", hasty))


def _half_a_snapshot() -> AbstractContextManager[None]:
    def forgetful(data: bytes) -> View:
        view = decode_snapshot(data)
        view.sequence = 0
        return view

    return patched((manager.state.driver, "decode_snapshot", forgetful))


def _a_state_that_goes_back() -> AbstractContextManager[None]:
    return patched((manager.dispatcher.server, "newer_status", lambda old, new: new != old))


def _ids_from_the_beginning() -> AbstractContextManager[None]:
    def counted() -> Iterator[str]:
        return (base36(number, ID_LENGTH) for number in itertools.count(1))

    return patched((manager.orchestrator.driver, "random_ids", counted))


def _a_new_task_beside_the_old() -> AbstractContextManager[None]:
    return patched((manager.orchestrator.update, "STOP_SECONDS", float("-inf")))


def _a_record_that_still_runs() -> AbstractContextManager[None]:
    return patched((manager.orchestrator.reaper, "_is_over", lambda draft, task: True))


def _a_record_that_never_was() -> AbstractContextManager[None]:
    def delete(self: Draft, task: Task) -> None:
        del self.tasks[task.id]
        self._changed.pop(task.id, None)
        self._deleted[task.id] = None
        self.slot(task.slot or task.node_id).tasks.pop(task.id, None)

    return patched((Draft, "delete", delete))


def _a_wish_that_is_not_sent() -> AbstractContextManager[None]:
    def key(task: Task) -> Any:
        return (int(is_terminal(task.status.state)), task.start_after, task.spec_version)

    return patched((manager.dispatcher.assignments, "_task_key", key))


def _a_dispatcher_that_stays_open() -> AbstractContextManager[None]:
    async def stay(self: Dispatcher) -> None:
        return

    return patched((Dispatcher, "close", stay))


def _silence_heard_once() -> AbstractContextManager[None]:
    async def watch(self: Dispatcher) -> None:
        while True:
            down = self._sessions.tick(self._context.monotonic())
            if down:
                await self._down(down)
            await asyncio.sleep(0.25)

    return patched((Dispatcher, "_watch_silence", watch))


def _a_stray_that_runs_on() -> AbstractContextManager[None]:
    apply = Assignments.apply

    def keep(self: Assignments, news: AssignmentNews) -> AssignmentChange | None:
        if not news.complete:
            return apply(self, news)
        before = dict(self.tasks)
        change = apply(self, news)
        self.tasks = before | self.tasks
        return change and replace(change, removed=())

    return patched((Assignments, "apply", keep))


def _a_lease_that_is_not_kept() -> AbstractContextManager[None]:
    return patched((TaskRunner, "lease_over", lambda self, seconds: None))


def _a_lease_that_is_not_waited_for() -> AbstractContextManager[None]:
    return patched((Draft, "held_until", lambda self, key: 0.0))


def _completions_of_older_iterations() -> AbstractContextManager[None]:
    def counts(service: Service, task: Task) -> bool:
        return task.status.state == TaskState.COMPLETE

    return patched((manager.orchestrator.jobs, "is_completion", counts))


def _one_task_too_many() -> AbstractContextManager[None]:
    def more(numbers: Iterator[int], most: int) -> Iterator[int]:
        return itertools.islice(numbers, most + 1)

    return patched((manager.orchestrator.jobs, "islice", more))


def _a_stop_that_is_not_withheld() -> AbstractContextManager[None]:
    return patched((Draining, "as_told", lambda self, task: task))


def _the_first_acknowledgement_counts() -> AbstractContextManager[None]:
    def any_has(
        self: Draining, stop: Any, sets: Mapping[str, EndpointSet], live: Collection[str]
    ) -> bool:
        return any(
            self._applied.get((network_id, node.node_id), 0) >= version
            for network_id, version in stop.needed.items()
            if network_id in sets
            for node in sets[network_id].nodes
            if node.node_id in live
        )

    return patched((Draining, "_all_have", any_has))


BUGS = [
    Bug(name, sentence, plant, seeds(faults))
    for name, sentence, plant, faults in (
        (
            "address_too_early",
            "An address is given to the next task while the container of the last one still stops.",
            _an_address_too_early,
            STORM,
        ),
        (
            "other_bytes",
            "Each manager writes its own time into a record when it applies an entry.",
            _other_bytes,
            STORM,
        ),
        (
            "acts_without_leading",
            "A manager that is not the leader any more goes on as if its changes had been taken.",
            _acts_without_leading,
            STORM,
        ),
        (
            "stale_head",
            "A leader goes on from proposals of which it does not know that they were lost.",
            _a_stale_head,
            ELECTIONS,
        ),
        (
            "early_answer",
            "A write is acknowledged when it is proposed, not when it is committed.",
            _an_early_answer,
            STORM,
        ),
        (
            "half_a_snapshot",
            "A state that is read from a snapshot has forgotten its place in the chain of changes.",
            _half_a_snapshot,
            STORM,
        ),
        (
            "state_goes_back",
            "A late report of an agent overwrites a newer one.",
            _a_state_that_goes_back,
            STORM,
        ),
        (
            "ids_again",
            "Each leader numbers its tasks from one.",
            _ids_from_the_beginning,
            STORM,
        ),
        (
            "beside_the_old",
            "A stop-first update lets the new task run before the old one has ended.",
            _a_new_task_beside_the_old,
            STORM,
        ),
        (
            "record_that_runs",
            "The record of a task is removed while its container still stops.",
            _a_record_that_still_runs,
            BUSY,
        ),
        (
            "record_that_never_was",
            "A task that is made and given up in one round is deleted, though it was never stored.",
            _a_record_that_never_was,
            BUSY,
        ),
        (
            "wish_not_sent",
            "The dispatcher does not tell an agent that the wish for a task has changed.",
            _a_wish_that_is_not_sent,
            STORM,
        ),
        (
            "dispatcher_stays_open",
            "A manager that no longer leads keeps its agents and tells them what it knows.",
            _a_dispatcher_that_stays_open,
            ELECTIONS,
        ),
        (
            "silence_once",
            "One failed write ends the watch over silent nodes.",
            _silence_heard_once,
            ELECTIONS,
        ),
        (
            "stray_runs_on",
            "An agent that was away goes on with the tasks that the managers have forgotten.",
            _a_stray_that_runs_on,
            CUTS,
        ),
        (
            "lease_not_kept",
            "An agent that no manager answers goes on with a task whose lease is over.",
            _a_lease_that_is_not_kept,
            LEASES,
        ),
        (
            "lease_not_waited_for",
            "The replacement of a leased task starts while the lease goes on.",
            _a_lease_that_is_not_waited_for,
            LEASES,
        ),
        (
            "stop_not_withheld",
            "A node hears at once that a task shall stop, while others still send it connections.",
            _a_stop_that_is_not_withheld,
            STORM,
        ),
        (
            "one_acknowledges",
            "A task is stopped as soon as one of the nodes that use it has taken it out.",
            _the_first_acknowledgement_counts,
            STORM,
        ),
        (
            "older_completions",
            "A job that runs again counts what completed before.",
            _completions_of_older_iterations,
            BUSY,
        ),
        (
            "one_too_many",
            "A job has one more task at work than it may.",
            _one_task_too_many,
            BUSY,
        ),
    )
]
"""All bugs of this catalogue."""
