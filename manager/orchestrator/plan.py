"""One round for one service: everything that its tasks need now."""

from __future__ import annotations

from typing import Final

from manager.orchestrator.enforcer import enforce
from manager.orchestrator.global_ import plan_global
from manager.orchestrator.jobs import plan_job
from manager.orchestrator.reaper import end_unreported, reap, remove_all
from manager.orchestrator.replicated import plan_replicated
from manager.orchestrator.slots import Draft, Plan
from manager.orchestrator.tasks import Ids
from manager.orchestrator.update import plan_update
from manager.state import View
from pyswarm.model import ServiceMode

LIMIT: Final = 100
"""Changes in one round: they fit one change set, and keep the loop for a few milliseconds."""


def plan_service(view: View, service_id: str, now: float, ids: Ids, limit: int = LIMIT) -> Plan:
    """What the service's tasks need now; `more` where the limit was reached.

    Each step starts from what the one before decided, so one round of any size is consistent.
    """
    draft = Draft(view, service_id, now, ids, limit)
    if draft.service is None or draft.service.pending_delete:
        steps = [remove_all]
    elif draft.service.spec.mode.is_job:
        steps = [enforce, plan_job]
    elif draft.service.spec.mode == ServiceMode.GLOBAL:
        steps = [enforce, plan_global, plan_update]
    else:
        steps = [enforce, plan_replicated, plan_update]
    for step in (*steps, end_unreported, reap):
        if draft.full:
            break
        step(draft)
    return draft.plan()
