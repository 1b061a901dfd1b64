"""The record of what people had run in tasks: what is written down, and how long it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from manager.state.query import only
from pyswarm.api.v1 import observe_pb2
from pyswarm.errors import FailedPrecondition, InvalidArgument, NotFound
from pyswarm.model import ExecRecord, Meta, Task, TaskState

RECORDS_MAX: Final = 1000
COMMAND_ARGUMENTS_MAX: Final = 64
COMMAND_CHARACTERS_MAX: Final = 1024
REQUEST_BYTES_MAX: Final = 256 * 1024
NAME_CHARACTERS_MAX: Final = 128


def check(start: observe_pb2.ExecStart) -> None:
    """Refuse what cannot be run; raises InvalidArgument."""
    if not start.command:
        raise InvalidArgument("no command to run is given")
    if start.ByteSize() > REQUEST_BYTES_MAX:
        raise InvalidArgument(
            f"command and environment have {start.ByteSize()} bytes, "
            f"and may have {REQUEST_BYTES_MAX}"
        )
    for entry in start.env:
        name, equals, _ = entry.partition("=")
        if not name or not equals or "\0" in entry:
            raise InvalidArgument(f"'{name[:80]}' is no variable: write NAME=VALUE")
    if any("\0" in part for part in (*start.command, start.user, start.working_directory)):
        raise InvalidArgument("a NUL character cannot be passed to a program")
    if start.working_directory and not start.working_directory.startswith("/"):
        raise InvalidArgument(f"the directory '{start.working_directory}' is not absolute")


def pick(tasks: Sequence[Task], reference: str) -> Task:
    """The task meant by an id, a name, `service.slot` or the start of an id: of several in one slot
    the one that is to run, and of those the newest. Raises NotFound, and InvalidArgument where the
    tasks of several slots are meant."""
    wanted = reference.lower()
    for means in (_is_id, _is_named, _begins_with):
        found = [task for task in tasks if means(task, wanted)]
        if found:
            newest: dict[tuple[str, int | str], Task] = {}
            for task in sorted(found, key=_worth):
                newest[task.slot_key] = task
            return only(Task, reference, list(newest.values()))
    own = [task for task in tasks if task.is_wanted and task.service_name.lower() == wanted]
    if own:
        example = min(task.name for task in own).rpartition(".")[0]
        raise NotFound(f"no such task: {reference} is a service, name a task such as {example}")
    raise NotFound(f"no such task: {reference}")


def _worth(task: Task) -> tuple[bool, bool, float, str]:
    runs = task.status.state is TaskState.RUNNING
    return runs, task.is_wanted, task.meta.created_at, task.id


def _is_id(task: Task, wanted: str) -> bool:
    return task.id == wanted


def _is_named(task: Task, wanted: str) -> bool:
    name = task.name.lower()
    return wanted in (name, name.rpartition(".")[0])


def _begins_with(task: Task, wanted: str) -> bool:
    return bool(wanted) and task.id.startswith(wanted)


def require_running(task: Task) -> None:
    """Raises FailedPrecondition where nothing can be run in the task."""
    if not task.node_id or task.status.state is not TaskState.RUNNING:
        state = task.status.state.name.lower()
        raise FailedPrecondition(f"task {task.name} is not running (it is {state})")


def begun(
    record_id: str, start: observe_pb2.ExecStart, task: Task, manager_id: str, now: float
) -> ExecRecord:
    """The record of a program that is about to be run; long commands are cut."""
    return ExecRecord(
        id=record_id,
        meta=Meta(created_at=now, updated_at=now),
        task_id=task.id,
        task_name=task.name,
        service_id=task.service_id,
        service_labels=task.service_labels,
        node_id=task.node_id,
        manager_id=manager_id,
        asked_by=start.asked_by[:NAME_CHARACTERS_MAX],
        command=_cut(start.command),
        user=start.user[:NAME_CHARACTERS_MAX],
        tty=start.tty,
    )


def _cut(command: Sequence[str]) -> tuple[str, ...]:
    parts: list[str] = []
    left = COMMAND_CHARACTERS_MAX
    for part in command[:COMMAND_ARGUMENTS_MAX]:
        parts.append(part[:left])
        left -= len(parts[-1])
    if len(command) > len(parts) or not left:
        parts.append("...")
    return tuple(parts)


def ended(record: ExecRecord, exit_code: int, error: str) -> ExecRecord:
    """The record once it is known how the program ended."""
    return replace(record, ended=True, exit_code=exit_code, error=error[:COMMAND_CHARACTERS_MAX])


def too_old(records: Sequence[ExecRecord]) -> list[str]:
    """The ids of those that go when one more comes: the oldest that have ended."""
    surplus = len(records) + 1 - RECORDS_MAX
    if surplus <= 0:
        return []
    by_age = sorted(records, key=lambda record: (record.meta.created_at, record.id))
    gone = [record.id for record in by_age if record.ended]
    return (gone or [record.id for record in by_age])[:surplus]
