"""What a rotation changes: the new version, and the services and tasks that follow to it.

A version is a record of its own with an id of its own, so a reference names a version and never
changes its content behind a task. A service follows in one of four ways:

    update   its references move and an update begins, which can fail and be rolled back: the
             previous specification still has the version before
    live     the references of its specifications and of its tasks move together, without an
             update; the agents see tasks with other references, and replace the files
    job      the references of its specifications move, and its next iteration begins with them: an
             update would run it again
    stays    its references say `never`, or name an older version: it was rolled back to that
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TypeVar

from manager.control import edits
from manager.placement.versions import references
from manager.planning import revisions
from manager.state.tables import View
from pyswarm.model import (
    Config,
    FileReference,
    Follow,
    PayloadSpec,
    Revision,
    Secret,
    Service,
    Task,
    TaskSpec,
    is_terminal,
)

Payload = TypeVar("Payload", Secret, Config)
Move = Callable[[FileReference], FileReference]


@dataclass(frozen=True, slots=True)
class Rotation:
    """Records to put in this order, then services that are updated, each as a revision; and the
    names of services by how they follow, sorted."""

    records: tuple[Service | Task | Revision, ...] = ()
    updates: tuple[Service, ...] = ()
    updated: tuple[str, ...] = ()
    live: tuple[str, ...] = ()
    stayed: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()


def next_version(old: Payload, new_id: str, spec: PayloadSpec, signal: str) -> Payload:
    """The record that takes the name of `old`."""
    return replace(old, id=new_id, version=old.version + 1, signal=signal, spec=spec)


def moved(spec: TaskSpec, kind: type[Secret] | type[Config], move: Move) -> TaskSpec:
    """The spec with each reference to the kind as `move` makes it; the same object where none
    changes."""
    old = references(spec.container, kind)
    new = tuple(map(move, old))
    if new == old:
        return spec
    files = {"secrets": new} if kind is Secret else {"configs": new}
    return replace(spec, container=replace(spec.container, **files))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Moves:
    """How references move to `new_id`, which follows `last_id` and those before it."""

    last_id: str
    older: Collection[str]
    new_id: str
    is_rotated_live: bool

    def is_live(self, reference: FileReference) -> bool:
        """Whether files are replaced in running containers."""
        if reference.follow is Follow.AS_ROTATED:
            return self.is_rotated_live
        return reference.follow is Follow.LIVE

    def live(self, reference: FileReference) -> FileReference:
        """The reference after the live part of the rotation."""
        concerned = reference.id == self.last_id or reference.id in self.older
        moves = concerned and self.is_live(reference)
        return replace(reference, id=self.new_id) if moves else reference

    def all(self, reference: FileReference) -> FileReference:
        """The reference after the whole rotation."""
        moves = reference.id == self.last_id and reference.follow is not Follow.NEVER
        return replace(reference, id=self.new_id) if moves else self.live(reference)


def rotate(
    view: View,
    payload: Secret | Config,
    new_id: str,
    older: Collection[str],
    *,
    live: bool,
    now: float,
) -> Rotation:
    """What follows when `new_id` takes the place of `payload`, the newest version so far; `older`
    are the ids of the versions before. A live rotation also moves those of older versions."""
    kind, moves = type(payload), _Moves(payload.id, older, new_id, live)
    followed, stayed, jobs = [], [], []
    records: list[Service | Task | Revision] = []
    updates: list[Service] = []
    services: list[Service] = sorted(view.list(Service), key=lambda s: s.spec.name)
    for service in services:
        uses = references(service.spec.task.container, kind)
        concerned = [r for r in uses if r.id == payload.id or r.id in older]
        if not concerned or service.pending_delete:
            continue

        if any(map(moves.is_live, concerned)):
            service, *others = _followed_live(view, service, kind, moves.live)
            records += [service, *others]
            followed.append(service.spec.name)
        task = moved(service.spec.task, kind, moves.all)
        if task is not service.spec.task and service.spec.mode.is_job:
            records += _moved_specs(view, service, kind, moves.all)
            jobs.append(service.spec.name)
        elif task is not service.spec.task:
            spec = replace(service.spec, task=task)
            updates.append(edits.update_service(service, spec, now))
        elif service.spec.name not in followed:
            stayed.append(service.spec.name)
    updated = tuple(service.spec.name for service in updates)
    return Rotation(
        tuple(records), tuple(updates), updated, tuple(followed), tuple(stayed), tuple(jobs)
    )


def _moved_specs(
    view: View, service: Service, kind: type[Secret] | type[Config], move: Move
) -> tuple[Service, *tuple[Revision, ...]]:
    """The service with its specifications, those of its history too: this is no revision of it."""
    spec, previous = service.spec, service.previous_spec
    service = replace(service, spec=replace(spec, task=moved(spec.task, kind, move)))
    if previous is not None:
        previous = replace(previous, task=moved(previous.task, kind, move))
        service = replace(service, previous_spec=previous)
    changed = []
    for revision in revisions.history(view, service):
        task_spec = moved(revision.spec.task, kind, move)
        if task_spec is not revision.spec.task:
            changed.append(replace(revision, spec=replace(revision.spec, task=task_spec)))
    return service, *changed


def _followed_live(
    view: View, service: Service, kind: type[Secret] | type[Config], move: Move
) -> tuple[Service, *tuple[Task | Revision, ...]]:
    """The service and its tasks, all at once: a task that differs from it is an old one."""
    service, *found = _moved_specs(view, service, kind, move)
    others: list[Task | Revision] = [*found]
    for task in view.tasks_of_service(service.id):
        if is_terminal(task.status.state):
            continue
        new = moved(task.spec, kind, move)
        if new is not task.spec:
            # Tasks of one specification hold one object, and their entries in the log are small.
            shared = new == service.spec.task
            others.append(replace(task, spec=service.spec.task if shared else new))
    return service, *others
