"""How a change is rolled out."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from pyswarm.cli.flags.declared import DURATION, Single, choice, whole, with_given
from pyswarm.model import FailureAction, UpdateConfig, UpdateOrder

SINGLE = (
    Single("update-parallelism", whole(), "Maximum number of tasks updated at once (0: all)"),
    Single("update-delay", DURATION, "Delay between updates"),
    Single(
        "update-monitor", DURATION, "Duration after each task update to monitor for failure (5s)"
    ),
    Single("update-failure-action", None, 'Action on failure ("pause", "continue", "rollback")'),
    Single("update-max-failure-ratio", float, "Failure rate to tolerate during an update"),
    Single("update-order", None, 'Update order ("start-first", "stop-first")'),
)


def edit(args: Namespace, old: UpdateConfig) -> UpdateConfig:
    """The configuration after the flags."""
    config = with_given(
        old,
        args,
        {
            "parallelism": "update-parallelism",
            "delay_seconds": "update-delay",
            "monitor_seconds": "update-monitor",
            "max_failure_ratio": "update-max-failure-ratio",
        },
    )
    if args.update_failure_action is not None:
        action = choice(FailureAction, args.update_failure_action, "update-failure-action")
        config = replace(config, failure_action=action)
    if args.update_order is not None:
        order = choice(UpdateOrder, args.update_order, "update-order")
        config = replace(config, order=order)
    return config
