"""States and the moves between them: who may move a task where.

The numbers are those of Docker Swarm: their order has meaning, and a task's state never goes
back. TRANSITIONS is the whole table; a move that is not in it is a bug of the mover.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class TaskState(IntEnum):
    """Observed state of a task; REMOVE is desired only."""

    NEW = 0
    PENDING = 64
    ASSIGNED = 192
    ACCEPTED = 256
    PREPARING = 320
    READY = 384
    STARTING = 448
    RUNNING = 512
    COMPLETE = 576
    SHUTDOWN = 640
    FAILED = 704
    REJECTED = 768
    REMOVE = 800
    ORPHANED = 832


class NodeRole(IntEnum):
    """What a node's certificate allows it to do."""

    WORKER = 0
    MANAGER = 1


class Availability(IntEnum):
    """Whether a node takes tasks: ACTIVE yes, PAUSE no new ones, DRAIN none at all."""

    ACTIVE = 0
    PAUSE = 1
    DRAIN = 2


class NodeState(IntEnum):
    """What the managers know of a node."""

    UNKNOWN = 0
    DOWN = 1
    READY = 2
    DISCONNECTED = 3


class Reachability(IntEnum):
    """A manager as its peers see it."""

    UNKNOWN = 0
    UNREACHABLE = 1
    REACHABLE = 2


class Mover(IntEnum):
    """The component that makes a move."""

    ALLOCATOR = 0
    SCHEDULER = 1
    AGENT = 2
    ORCHESTRATOR = 3
    DISPATCHER = 4


_AGENT_ORDER: Final = (
    TaskState.ASSIGNED,
    TaskState.ACCEPTED,
    TaskState.PREPARING,
    TaskState.READY,
    TaskState.STARTING,
    TaskState.RUNNING,
)
_AGENT_ENDS: Final = (
    TaskState.COMPLETE,
    TaskState.SHUTDOWN,
    TaskState.FAILED,
    TaskState.REJECTED,
)


def _agent_moves() -> set[tuple[TaskState, TaskState]]:
    # Statuses travel in batches, so an agent may be seen to skip states, but never to go back.
    forward = {(a, b) for i, a in enumerate(_AGENT_ORDER) for b in _AGENT_ORDER[i + 1 :]}
    return forward | {(a, b) for a in _AGENT_ORDER for b in _AGENT_ENDS}


TRANSITIONS: Final[dict[Mover, frozenset[tuple[TaskState, TaskState]]]] = {
    Mover.ALLOCATOR: frozenset({(TaskState.NEW, TaskState.PENDING)}),
    Mover.SCHEDULER: frozenset({(TaskState.PENDING, TaskState.ASSIGNED)}),
    Mover.AGENT: frozenset(_agent_moves()),
    # A task that nobody runs yet is ended by the manager, since no agent will report its end.
    Mover.ORCHESTRATOR: frozenset(
        {
            (TaskState.NEW, TaskState.SHUTDOWN),
            (TaskState.PENDING, TaskState.SHUTDOWN),
            *((state, TaskState.REJECTED) for state in _AGENT_ORDER),
        }
    ),
    # The tasks of a node that is gone for good: nobody will ever report them again.
    Mover.DISPATCHER: frozenset((state, TaskState.ORPHANED) for state in _AGENT_ORDER),
}


def may_move(mover: Mover, old: TaskState, new: TaskState) -> bool:
    """Whether `mover` may take a task from `old` to `new` (staying is always allowed)."""
    return old == new or (old, new) in TRANSITIONS[mover]


def is_terminal(state: TaskState) -> bool:
    """Whether a task in this state will never run again."""
    return state > TaskState.RUNNING
