"""Rollbacks, and what an operator makes of an update that runs or is paused."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from manager.orchestrator.update import begun, is_rollback, taken_back
from pyswarm.api.v1 import updates_pb2
from pyswarm.errors import FailedPrecondition, InvalidArgument
from pyswarm.model import Service, ServiceSpec, UpdateState

PAUSE: Final = updates_pb2.UPDATE_ACTION_PAUSE
CONTINUE: Final = updates_pb2.UPDATE_ACTION_CONTINUE
ABORT: Final = updates_pb2.UPDATE_ACTION_ABORT


def previous_spec(old: Service, spec: ServiceSpec) -> ServiceSpec | None:
    """What a service whose spec becomes `spec` can be rolled back to: the spec that was rolled
    out last in full. An update that takes the place of an unfinished one does not count that one's
    (Docker does, and rolls back to what had failed), nor does scaling during an update."""
    if spec == old.spec:
        return old.previous_spec
    state = old.update_status.state
    if state.is_rollback or not (state.is_running or state.is_paused):
        return old.spec
    good = old.previous_spec or old.spec
    scaled = spec.task == old.spec.task and spec.replicas != old.spec.replicas
    return replace(good, replicas=spec.replicas) if scaled else good


def rolled_back(old: Service, back: Service, now: float) -> Service:
    """The service `back`, as an update to an earlier spec has made it of `old`, as a rollback: it
    follows the rollback's settings, and another rollback is the way forward again."""
    back = replace(back, previous_spec=old.spec)
    if back.spec.mode.is_job:
        return back
    status = begun(now, "manually requested rollback", rollback=True)
    return replace(back, update_status=status)


def target_of(old: Service, wanted: ServiceSpec | None) -> ServiceSpec:
    """The spec that a rollback goes to: `wanted`, or the previous one."""
    target = wanted or old.previous_spec
    if target is None:
        raise InvalidArgument(f"service {old.spec.name} does not have a previous spec")
    if target == old.spec:
        raise InvalidArgument(
            f"service {old.spec.name} has this very specification: there is nothing to roll back"
        )
    return target


def steered(service: Service, action: int, now: float) -> Service:
    """The service after PAUSE, CONTINUE or ABORT; raises FailedPrecondition where its update is
    not in a state for that."""
    name, status = service.spec.name, service.update_status
    word = "rollback" if is_rollback(service) else "update"
    if action == PAUSE:
        if not status.state.is_running:
            raise FailedPrecondition(f"service {name} has no update in progress to pause")
        state = UpdateState.ROLLBACK_PAUSED if is_rollback(service) else UpdateState.PAUSED
        status = replace(status, state=state, message=f"{word} paused on request")
        return replace(service, update_status=status)
    if action == CONTINUE:
        if not status.state.is_paused:
            raise FailedPrecondition(f"service {name} has no paused update to continue")
        # What failed before counts no more, and the time begins anew.
        fresh = begun(now, f"{word} in progress", rollback=is_rollback(service))
        return replace(service, update_status=fresh)
    if action != ABORT:
        raise InvalidArgument(f"{action} is no action on an update")
    if not (status.state.is_running or status.state.is_paused):
        raise FailedPrecondition(
            f"service {name} has no update to abort: use 'service rollback' for one that is over"
        )
    if is_rollback(service):
        raise FailedPrecondition(f"service {name} is on its way back already")
    back = taken_back(service, now, "update aborted on request")
    if back is None:
        raise FailedPrecondition(f"service {name} does not have a previous spec")
    return back
