"""Answers why a task is where it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc.aio

from manager.scheduler.explain import Explanation, explain, find
from manager.state.driver import Store
from pyswarm.api.v1 import control_pb2, placement_pb2, placement_pb2_grpc


class SchedulingServer(placement_pb2_grpc.SchedulingServicer):
    """Answers on the leader, from what is committed there."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def ExplainTask(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> placement_pb2.Explanation:
        """Why the task is on its node, or what is wrong with each node."""
        view = self._store.view
        task = find(view, request.ref)
        # Every node is looked at with its tasks; a view does not change, so a thread may do it.
        return _message(await asyncio.to_thread(explain, view, task, self._clock()))


def _message(found: Explanation) -> placement_pb2.Explanation:
    name = found.task.name if not found.task.slot else found.task.name.rpartition(".")[0]
    return placement_pb2.Explanation(
        task_id=found.task.id,
        task_name=name,
        sentence=found.sentence,
        candidates=[
            placement_pb2.Candidate(node=each.node, reason=each.reason, here=each.here)
            for each in found.candidates
        ],
        candidate_count=found.candidate_count,
        refusals=[
            placement_pb2.Refusal(reason=each.reason, nodes=each.nodes, count=each.count)
            for each in found.refusals
        ],
        refusal_count=found.refusal_count,
        nodes=found.nodes,
    )
