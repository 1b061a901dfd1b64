"""Replicated services: slots 1..n, each filled with one task."""

from __future__ import annotations

from manager.orchestrator.restart import is_done, settle
from manager.orchestrator.slots import Draft, Slot
from manager.orchestrator.tasks import wish
from pyswarm.model import TaskState


def plan_replicated(draft: Draft) -> None:
    """Replace what ended or is lost, then add or remove slots until there are `replicas`."""
    occupied = []
    for key in _numbers(draft):
        slot = draft.slots[key]
        settle(draft, slot, replace_lost=True)
        if slot.wanted or is_done(draft, slot):
            occupied.append(slot)
        if draft.full:
            return
    replicas = draft.settled_service.spec.replicas
    if len(occupied) > replicas:
        _remove(draft, victims(occupied, len(occupied) - replicas))
    else:
        _fill(draft, {slot.key for slot in occupied}, replicas)


def _numbers(draft: Draft) -> list[int]:
    return sorted(key for key in draft.slots if isinstance(key, int))


def _fill(draft: Draft, occupied: set[int | str], replicas: int) -> None:
    missing, number = replicas - len(occupied), 0
    while missing > 0 and not draft.full:
        number += 1
        if number not in occupied:
            draft.create(number)
            missing -= 1


def victims(occupied: list[Slot], count: int) -> list[Slot]:
    """The slots to give up: first those that do not run, then those on the nodes that have most
    of the service's tasks, then the highest numbers."""
    per_node: dict[str, int] = {}
    ranked = []
    for slot in sorted(occupied, key=lambda s: (not s.is_running, s.key)):
        node_id = next((t.node_id for t in slot.wanted), "")
        rank = per_node[node_id] = per_node.get(node_id, 0) + 1
        ranked.append((not slot.is_running, rank, slot.key))
    chosen = {key for _, _, key in sorted(ranked, reverse=True)[:count]}
    return [slot for slot in occupied if slot.key in chosen]


def _remove(draft: Draft, slots: list[Slot]) -> None:
    for slot in slots:
        for task in list(slot.tasks.values()):
            draft.put(wish(task, TaskState.REMOVE))
        if draft.full:
            return
