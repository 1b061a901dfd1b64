"""Replicated services: slots 1..n, each filled with one task."""

from __future__ import annotations

from manager.orchestrator.restart import is_done, settle
from manager.orchestrator.scale_down import victims
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
        _remove(draft, victims(draft, occupied, len(occupied) - replicas))
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


def _remove(draft: Draft, slots: list[Slot]) -> None:
    for slot in slots:
        for task in list(slot.tasks.values()):
            draft.put(wish(task, TaskState.REMOVE))
        if draft.full:
            return
