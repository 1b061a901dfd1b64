"""What tasks use: each node that has some of them is asked, and tells it at each interval."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from manager.conversations.driver import Conversations
from manager.state.driver import Store
from pyswarm.aio import Pipe, Supervisor
from pyswarm.api.v1 import dispatcher_pb2, observe_pb2
from pyswarm.errors import SwarmError
from pyswarm.model import Node, Task, TaskState

BATCHES_WAITING_MAX: Final = 64
LOOK_SECONDS: Final = 1.0
"""Between two looks for nodes that have tasks of the service now."""
ANSWER_SECONDS: Final = 10.0
"""A node that is silent for so much longer than its interval is named."""
INTERVAL_SECONDS_MAX: Final = 3600.0


class Statistics:
    """`conversations` are those of the leadership."""

    def __init__(self, store: Store, conversations: Callable[[], Conversations]) -> None:
        self._store = store
        self._conversations = conversations

    async def read(
        self, request: observe_pb2.StatsRequest
    ) -> AsyncGenerator[observe_pb2.StatsBatch, None]:
        """The looks of all nodes that have tasks of the request, as they come; with `once` one
        of each node. A node that does not answer says so in a batch of its own."""
        batches: Pipe[observe_pb2.StatsBatch] = Pipe(BATCHES_WAITING_MAX)
        async with Supervisor("statistics") as supervisor:
            supervisor.start(self._ask_all(request, batches), "nodes")
            async for batch in batches:
                yield batch

    async def _ask_all(
        self, request: observe_pb2.StatsRequest, batches: Pipe[observe_pb2.StatsBatch]
    ) -> None:
        asked: dict[str, asyncio.Task[None]] = {}
        async with Supervisor("nodes") as supervisor:
            while True:
                for node_id in self._nodes(request):
                    known = asked.get(node_id)
                    if known is None or known.done():
                        work = self._ask(node_id, request, batches)
                        asked[node_id] = supervisor.start(work, node_id)
                if request.once:
                    await asyncio.gather(*asked.values())
                    batches.close()
                    return
                await asyncio.sleep(LOOK_SECONDS)

    def _nodes(self, request: observe_pb2.StatsRequest) -> list[str]:
        view = self._store.view
        services, tasks, nodes = set(request.services), set(request.tasks), set(request.nodes)
        everything = not services and not tasks
        return sorted(
            {
                task.node_id
                for task in view.list(Task)
                if task.node_id
                and task.status.state is TaskState.RUNNING
                and (everything or task.service_id in services or task.id in tasks)
                and (not nodes or task.node_id in nodes)
            }
        )

    async def _ask(
        self,
        node_id: str,
        request: observe_pb2.StatsRequest,
        batches: Pipe[observe_pb2.StatsBatch],
    ) -> None:
        node = self._store.view.get(Node, node_id)
        name = node.hostname if node is not None else node_id
        memory_bytes = node.description.resources.memory_bytes if node is not None else 0
        interval = min(max(request.interval_seconds, 0.0), INTERVAL_SECONDS_MAX)
        try:
            async with self._conversations().open(node_id, name) as conversation:
                await conversation.ask(dispatcher_pb2.ConversationAsk(stats=request))
                async with aclosing(conversation.answers()) as answers:
                    while True:
                        async with asyncio.timeout(interval + ANSWER_SECONDS):
                            answer = await anext(answers, None)
                        if answer is None:
                            return
                        batch = answer.stats
                        batch.node_id, batch.node_name = node_id, name
                        for each in batch.tasks:
                            each.memory_limit_bytes = each.memory_limit_bytes or memory_bytes
                        await batches.put(batch)
        except (SwarmError, TimeoutError) as error:
            problem = (
                error.message if isinstance(error, SwarmError) else f"node {name} does not answer"
            )
            await batches.put(
                observe_pb2.StatsBatch(node_id=node_id, node_name=name, problem=problem)
            )
            if not request.once:
                await asyncio.sleep(ANSWER_SECONDS)  # then it is asked once more
