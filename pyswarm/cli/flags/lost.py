"""What becomes of a task whose node is lost."""

from __future__ import annotations

from argparse import Namespace

from pyswarm.cli.flags.declared import DURATION, Single, typed, with_given
from pyswarm.compose.values import on_partition
from pyswarm.model import TaskSpec

SINGLE = (
    Single(
        "reschedule-after",
        DURATION,
        "How long to wait for a lost node before its tasks are replaced (0s)",
    ),
    Single(
        "on-partition",
        typed(on_partition, "keep|stop-after=DURATION"),
        'What a node without a manager does with a task ("keep", "stop-after=DURATION")',
    ),
)


def edit_task(args: Namespace, old: TaskSpec) -> TaskSpec:
    """The task after the flags."""
    return with_given(old, args, {"stop_after_seconds": "on-partition"})
