"""Runs a program in a task for a user: record it, talk with the node, record how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import grpc.aio

from manager.conversations.driver import Conversation, Conversations
from manager.observe import audit
from manager.state.driver import Store
from manager.state.store import Transaction
from pyswarm.aio import Closed, Pipe, Supervisor
from pyswarm.api.v1 import dispatcher_pb2, observe_pb2
from pyswarm.errors import InvalidArgument, SwarmError, Unavailable
from pyswarm.model import ExecRecord, Node, Task

log = logging.getLogger(__name__)

START_SECONDS: Final = 10.0
OUTPUTS_WAITING_MAX: Final = 4
KILLED_CODE: Final = 137
GONE: Final = "the caller went away, so the program was killed"

Inputs = AsyncIterator[observe_pb2.ExecInput]
Outputs = Pipe[observe_pb2.ExecOutput]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Demand:
    """One program that somebody wants."""

    start: observe_pb2.ExecStart
    record: ExecRecord
    inputs: Inputs
    outputs: Outputs


class Programs:
    """All programs that users have run while this manager leads; `conversations` are those of the
    leadership, `asked_through` names the manager that the user talked to."""

    def __init__(
        self,
        store: Store,
        conversations: Callable[[], Conversations],
        new_id: Callable[[], str],
        clock: Callable[[], float],
        asked_through: Callable[[], str],
    ) -> None:
        self._store = store
        self._conversations = conversations
        self._new_id = new_id
        self._clock = clock
        self._asked_through = asked_through
        self._supervisor = Supervisor("programs")

    async def run(self, inputs: Inputs) -> AsyncGenerator[observe_pb2.ExecOutput, None]:
        """What the program says. Where the caller goes away, it is killed, unless detached."""
        start = await _first(inputs)
        audit.check(start)
        task = audit.pick(self._store.view.list(Task), start.task)
        audit.require_running(task)
        record = audit.begun(self._new_id(), start, task, self._asked_through(), self._clock())
        await self._store.update(lambda tx: _begin(tx, record))
        outputs: Outputs = Pipe(OUTPUTS_WAITING_MAX)
        demand = _Demand(start=start, record=record, inputs=inputs, outputs=outputs)
        failed: list[SwarmError] = []
        work = self._supervisor.start(self._serve(demand, failed), record.id)
        is_heard = False
        try:
            async for output in outputs:
                is_heard = output.HasField("ended")  # the caller may go at once
                yield output
            is_heard = True
            if failed:
                raise failed[0]
        finally:
            outputs.close()
            if not is_heard and not start.detach:
                work.cancel()

    async def _serve(self, demand: _Demand, failed: list[SwarmError]) -> None:
        code, error = KILLED_CODE, GONE
        try:
            code, error = await self._converse(demand)
        except SwarmError as problem:
            failed.append(problem)
            error = problem.message
        finally:
            demand.outputs.close()
            # On its own, since the caller's going must not keep it from the record.
            self._supervisor.start(self._end(demand.record.id, code, error), "record")

    async def _converse(self, demand: _Demand) -> tuple[int, str]:
        """Exit code and error of the program."""
        node_id = demand.record.node_id
        node = self._store.view.get(Node, node_id)
        name = node.hostname if node is not None else node_id
        start = observe_pb2.ExecStart()
        start.CopyFrom(demand.start)
        start.task = demand.record.task_id
        async with self._conversations().open(node_id, name) as conversation:
            await conversation.ask(_ask(observe_pb2.ExecInput(start=start)))
            async with (
                Supervisor("program") as supervisor,
                aclosing(conversation.answers()) as answers,
            ):
                supervisor.start(_feed(demand, conversation), "input")
                async for answer in answers:
                    await _pass_on(demand, answer.exec)
                    if answer.exec.HasField("ended"):
                        return answer.exec.ended.exit_code, answer.exec.ended.error
        raise Unavailable(f"node {name} has gone away: how the program ended is not known")

    async def _end(self, record_id: str, code: int, error: str) -> None:
        def change(tx: Transaction) -> None:
            record = tx.get(ExecRecord, record_id)
            if record is not None:
                tx.put(audit.ended(record, code, error))

        try:
            await self._store.update(change)
        except SwarmError as problem:
            log.warning("how program %s ended is not on record: %s", record_id, problem.message)


def _begin(tx: Transaction, record: ExecRecord) -> None:
    for record_id in audit.too_old(tx.view.list(ExecRecord)):
        tx.delete(ExecRecord, record_id)
    tx.put(record)


def _ask(said: observe_pb2.ExecInput) -> dispatcher_pb2.ConversationAsk:
    return dispatcher_pb2.ConversationAsk(exec=said)


async def _first(inputs: Inputs) -> observe_pb2.ExecStart:
    try:
        async with asyncio.timeout(START_SECONDS):
            first = await anext(inputs, None)
    except TimeoutError:
        first = None
    if first is None or not first.HasField("start"):
        raise InvalidArgument("a program is asked for by a first message that says which")
    return first.start


async def _feed(demand: _Demand, conversation: Conversation) -> None:
    """What the caller gives the program; the end of the caller's half is the input's end."""
    try:
        async for said in demand.inputs:
            await conversation.ask(_ask(said))
        if not demand.start.detach:
            await conversation.ask(_ask(observe_pb2.ExecInput(stdin_over=True)))
    except (SwarmError, grpc.aio.UsageError) as error:
        log.debug("input for a program that has ended: %s", error)


async def _pass_on(demand: _Demand, output: observe_pb2.ExecOutput) -> None:
    """Give the caller what the program says; a detached one hears only that it was started."""
    try:
        await demand.outputs.put(output)
        if demand.start.detach and output.HasField("started"):
            demand.outputs.close()
    except Closed:
        return
