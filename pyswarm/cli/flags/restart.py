"""When a task that ended is replaced."""

from __future__ import annotations

from argparse import Namespace

from pyswarm.cli.flags.declared import DURATION, Single, member_of, whole, with_given
from pyswarm.model import RestartCondition, RestartPolicy

SINGLE = (
    Single(
        "restart-condition",
        member_of(RestartCondition),
        'Restart when condition is met ("none", "on-failure", "any")',
    ),
    Single("restart-delay", DURATION, "Delay between restart attempts (5s)"),
    Single("restart-max-attempts", whole(), "Maximum number of restarts before giving up"),
    Single("restart-window", DURATION, "Window used to evaluate the restart policy"),
)


def edit(args: Namespace, old: RestartPolicy) -> RestartPolicy:
    """The policy after the flags."""
    return with_given(
        old,
        args,
        {
            "condition": "restart-condition",
            "delay_seconds": "restart-delay",
            "max_attempts": "restart-max-attempts",
            "window_seconds": "restart-window",
        },
    )
