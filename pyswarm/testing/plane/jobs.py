"""What a job has promised, held against each entry that changes the state."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from manager.state import Changed
from manager.state.tables import View
from pyswarm.model import Node, Service, ServiceMode, Task, TaskState, is_terminal


def _completed(service: Service, task: Task) -> bool:
    return (
        task.job_iteration == service.job_status.iteration
        and task.status.state == TaskState.COMPLETE
        and task.is_wanted
    )


class Jobs:
    """No more tasks than are asked for, and nothing that has completed is taken back."""

    def entry(self, changes: Iterable[Changed], view: View, fail: Callable[[str], None]) -> None:
        """An entry was applied; `view` is the state after it."""
        grown: set[str] = set()
        for change in changes:
            if change.kind is not Task:
                continue
            old, new = change.old, change.new
            task: Task = new or old
            service = view.get(Service, task.service_id)
            if service is None or service.pending_delete or not service.spec.mode.is_job:
                continue
            if old is None:
                grown.add(service.id)
                continue
            # A node that was removed takes what it has done with it.
            gone = service.spec.mode.is_global and view.get(Node, old.node_id) is None
            kept = new is not None and _completed(service, new)
            if _completed(service, old) and not kept and not gone:
                fail(f"task {old.id} of job {service.id} had completed, and is taken back")
        for service_id in sorted(grown):
            self._sums(view.require(Service, service_id), view, fail)

    def _sums(self, service: Service, view: View, fail: Callable[[str], None]) -> None:
        """After an entry that made a task: before, a user may have asked for fewer."""
        mine = [
            t
            for t in view.tasks_of_service(service.id)
            if t.is_wanted and t.job_iteration == service.job_status.iteration
        ]
        completed = {t.slot_key for t in mine if t.status.state == TaskState.COMPLETE}
        active = [t.slot_key for t in mine if not is_terminal(t.status.state)]
        spec = service.spec
        if len(set(active)) != len(active) or completed & set(active):
            fail(f"job {service.id} has two tasks at work in a slot, or one in a slot that is done")
        if spec.mode != ServiceMode.REPLICATED_JOB:
            return
        if len(completed) + len(active) > spec.replicas:
            fail(
                f"job {service.id} has {len(active)} tasks at work beside {len(completed)} that "
                f"completed, of {spec.replicas}"
            )
        if spec.max_concurrent and len(active) > spec.max_concurrent:
            fail(f"job {service.id} has {len(active)} at work, not {spec.max_concurrent} at most")
