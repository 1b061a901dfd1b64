"""Answers the managers' questions, each by the handler of its kind, each exactly once."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from pyswarm.aio import Supervisor
from pyswarm.api.v1 import dispatcher_pb2
from pyswarm.errors import SwarmError

log = logging.getLogger(__name__)

QUESTIONS_MAX: Final = 64

Handler = Callable[[Any], Awaitable[dispatcher_pb2.NodeAnswer]]
"""Takes the question's message, and answers with the field of its kind set."""


class Answerer:
    """All questions under way; `handlers` by the name of their field in `NodeAsk`."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        send: Callable[[dispatcher_pb2.NodeAnswer], Awaitable[None]],
    ) -> None:
        self._handlers = dict(handlers)
        self._send = send
        self._under_way = 0
        self._supervisor = Supervisor("questions")

    def take(self, ask: dispatcher_pb2.NodeAsk) -> None:
        """Begin to answer."""
        self._supervisor.start(self._answer(ask), f"question {ask.id}")

    async def close(self) -> None:
        """Stop every answer."""
        await self._supervisor.close()

    async def _answer(self, ask: dispatcher_pb2.NodeAsk) -> None:
        self._under_way += 1
        try:
            answer = await self._find(ask)
            answer.id = ask.id
            await self._send(answer)
        except SwarmError as error:
            log.info("nobody hears the answer to question %s: %s", ask.id, error.message)
        finally:
            self._under_way -= 1

    async def _find(self, ask: dispatcher_pb2.NodeAsk) -> dispatcher_pb2.NodeAnswer:
        kind = ask.WhichOneof("question") or ""
        handler = self._handlers.get(kind)
        if handler is None:
            problem = "this node cannot answer that: it runs another version of pyswarm"
            return dispatcher_pb2.NodeAnswer(problem=problem)
        if self._under_way > QUESTIONS_MAX:
            return dispatcher_pb2.NodeAnswer(problem="this node answers too many questions at once")
        try:
            return await handler(getattr(ask, kind))
        except SwarmError as error:
            return dispatcher_pb2.NodeAnswer(problem=error.message)
        except Exception as error:
            log.exception("question %s could not be answered", kind)
            return dispatcher_pb2.NodeAnswer(problem=f"internal error: {error!r}")
