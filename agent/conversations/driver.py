"""Holds the conversations that managers want: programs in tasks, and what tasks use.

This node listens to nobody: a conversation is announced in the session with the leader, and the
stream is opened from here, to a manager that shows a manager's certificate. So nothing that did
not come from a manager is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from agent.conversations.client import (
    Exchange,
    InputGiven,
    InputOver,
    Resized,
    RunAsked,
    Signalled,
    StatsAsked,
    TaskUse,
)
from agent.executor.containers import Containers, container_id
from agent.executor.programs import (
    CANNOT_RUN_CODE,
    CannotRun,
    ContainerUse,
    Program,
    cpu_percent,
)
from pyswarm.aio import Pipe, Supervisor
from pyswarm.errors import NotFound, SwarmError
from pyswarm.model import Task, TaskState

log = logging.getLogger(__name__)

CONVERSATIONS_MAX: Final = 256
INPUTS_WAITING_MAX: Final = 64
"""Callers keep to less, see `inputs_taken`; one that does not is held up."""
FIRST_LOOK_SECONDS: Final = 0.5
INTERVAL_SECONDS_MIN: Final = 0.2
LOOKS_AT_ONCE: Final = 16

Open = Callable[[str], Exchange]


class Conversations:
    """All that are under way; `open` opens the stream of one, `tasks` are the assigned ones."""

    def __init__(
        self, containers: Containers, open_exchange: Open, tasks: Callable[[], list[Task]]
    ) -> None:
        self._containers = containers
        self._open = open_exchange
        self._tasks = tasks
        self._supervisor = Supervisor("conversations")
        self._running = 0

    def take(self, conversation_id: str) -> None:
        """Begin one; beyond the bound it is left alone, and the manager's wait ends."""
        if self._running >= CONVERSATIONS_MAX:
            log.warning("a manager's question is left alone: there are %d", self._running)
            return
        self._running += 1
        work = self._supervisor.start(self._hold(conversation_id), conversation_id)
        work.add_done_callback(lambda done: self._less())

    def _less(self) -> None:
        self._running -= 1

    async def close(self) -> None:
        """End them; programs that were run for somebody are killed."""
        await self._supervisor.close()

    async def _hold(self, conversation_id: str) -> None:
        exchange = None
        try:
            exchange = self._open(conversation_id)
            match await exchange.begin():
                case RunAsked() as asked:
                    await self._run(exchange, asked)
                case StatsAsked() as asked:
                    await self._tell_use(exchange, asked)
                case _:
                    await exchange.refuse("this node was asked nothing that it knows")
            await exchange.finish()
        except SwarmError as error:
            log.info("conversation %s: %s", conversation_id, error.message)
        finally:
            if exchange is not None:
                await exchange.close()

    # ---- programs ----

    async def _run(self, exchange: Exchange, asked: RunAsked) -> None:
        task = next((task for task in self._tasks() if task.id == asked.task_id), None)
        try:
            if task is None:
                raise NotFound(f"task {asked.task_id} is not on this node")
            program = await self._containers.run(container_id(task), asked.program)
        except SwarmError as error:
            code = error.exit_code if isinstance(error, CannotRun) else CANNOT_RUN_CODE
            await exchange.ended(code, error.message)
            return
        try:
            async with Supervisor("program") as parts:
                speaker = parts.start(self._speak(exchange, program, asked.detach), "output")
                listener = parts.start(self._listen(exchange, program, asked.detach), "input")
                over = parts.start(self._over(exchange, asked.detach), "over")
                await asyncio.wait((speaker, listener, over), return_when=asyncio.FIRST_COMPLETED)
                if not speaker.done():
                    log.info("a program in %s is ended: its caller has gone", asked.task_id)
        finally:
            await program.close()

    async def _speak(self, exchange: Exchange, program: Program, detach: bool) -> None:
        try:
            await exchange.started()
            async for piece in program.output():
                if not detach:
                    await exchange.wrote(piece.stderr, piece.data)
            await exchange.ended(await program.wait())
        except SwarmError as error:
            log.info("nobody hears what a program says: %s", error.message)
            if detach:
                await program.wait()

    async def _listen(self, exchange: Exchange, program: Program, detach: bool) -> None:
        """What the caller says, to its end; detached, the program goes on without a caller."""
        inputs: Pipe[InputGiven | InputOver] = Pipe(INPUTS_WAITING_MAX)
        try:
            async with Supervisor("input") as supervisor:
                supervisor.start(self._give(exchange, program, inputs), "writer")
                await self._hear(exchange, program, inputs)
        except SwarmError as error:
            log.info("a program's caller is not heard any more: %s", error.message)
        if detach:
            await asyncio.Event().wait()

    async def _give(
        self, exchange: Exchange, program: Program, inputs: Pipe[InputGiven | InputOver]
    ) -> None:
        """Input goes its own way, so that a program which reads none holds up no signal."""
        taken = 0
        try:
            async for given in inputs:
                if isinstance(given, InputOver):
                    await program.close_input()
                    return
                await program.write(given.data)
                taken += 1
                await exchange.took(taken)
        except SwarmError as error:
            log.info("a program gets no more input: %s", error.message)

    async def _hear(
        self, exchange: Exchange, program: Program, inputs: Pipe[InputGiven | InputOver]
    ) -> None:
        while (said := await exchange.ask()) is not None:
            match said:
                case InputGiven() | InputOver():
                    await inputs.put(said)
                case Resized(rows, columns):
                    await program.resize(rows, columns)
                case Signalled(name):
                    await program.signal(name)

    async def _over(self, exchange: Exchange, detach: bool) -> None:
        # The listener may be held up by a program that reads no input.
        await exchange.over()
        if detach:
            await asyncio.Event().wait()

    # ---- what tasks use ----

    async def _tell_use(self, exchange: Exchange, asked: StatsAsked) -> None:
        interval = max(INTERVAL_SECONDS_MIN, asked.interval_seconds)
        before = await self._look(asked)
        await asyncio.sleep(min(interval, FIRST_LOOK_SECONDS))
        while True:
            now = await self._look(asked)
            await exchange.uses(
                [
                    TaskUse(
                        task_id=task.id,
                        task_name=task.name,
                        service_id=task.service_id,
                        cpu_percent=cpu_percent(before[key][1], use) if key in before else 0.0,
                        use=use,
                    )
                    for key, (task, use) in now.items()
                ]
            )
            if asked.once:
                return
            before = now
            await asyncio.sleep(interval)

    async def _look(self, asked: StatsAsked) -> dict[str, tuple[Task, ContainerUse]]:
        wanted = [
            task
            for task in self._tasks()
            if task.status.state <= TaskState.RUNNING
            and (task.id in asked.tasks or task.service_id in asked.services or asked.all)
        ]
        turns = asyncio.Semaphore(LOOKS_AT_ONCE)

        async def one(task: Task) -> ContainerUse | None:
            try:
                async with turns:
                    return await self._containers.use(container_id(task))
            except NotFound:
                return None

        uses = await asyncio.gather(*(one(task) for task in wanted))
        found = zip(wanted, uses, strict=True)
        return {task.id: (task, use) for task, use in found if use is not None}
