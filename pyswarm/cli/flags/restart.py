"""When a task that ended is replaced."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from pyswarm.cli.flags.declared import DURATION, Single, choice, whole, with_given
from pyswarm.model import RestartCondition, RestartPolicy

SINGLE = (
    Single(
        "restart-condition", None, 'Restart when condition is met ("none", "on-failure", "any")'
    ),
    Single("restart-delay", DURATION, "Delay between restart attempts (5s)"),
    Single("restart-max-attempts", whole(), "Maximum number of restarts before giving up"),
    Single("restart-window", DURATION, "Window used to evaluate the restart policy"),
)


def edit(args: Namespace, old: RestartPolicy) -> RestartPolicy:
    """The policy after the flags."""
    policy = with_given(
        old,
        args,
        {
            "delay_seconds": "restart-delay",
            "max_attempts": "restart-max-attempts",
            "window_seconds": "restart-window",
        },
    )
    if args.restart_condition is not None:
        condition = choice(RestartCondition, args.restart_condition, "restart-condition")
        policy = replace(policy, condition=condition)
    return policy
