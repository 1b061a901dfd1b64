"""The health check."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from pyswarm.cli.flags.declared import DURATION, Single, whole, with_given
from pyswarm.model import Healthcheck

SINGLE = (
    Single("health-cmd", None, "Command to run to check health"),
    Single("health-interval", DURATION, "Time between running the check"),
    Single("health-timeout", DURATION, "Maximum time to allow one check to run"),
    Single("health-start-period", DURATION, "Start period before retries count"),
    Single("health-retries", whole(), "Consecutive failures needed to report unhealthy"),
)


def edit(args: Namespace, old: Healthcheck | None) -> Healthcheck | None:
    """The check after the flags; None where nobody asks for one."""
    names = ("cmd", "interval", "timeout", "start_period", "retries")
    if all(getattr(args, f"health_{name}") is None for name in names):
        return old
    check = with_given(
        old or Healthcheck(),
        args,
        {
            "interval_seconds": "health-interval",
            "timeout_seconds": "health-timeout",
            "start_period_seconds": "health-start-period",
            "retries": "health-retries",
        },
    )
    if args.health_cmd is not None:
        check = replace(check, test=("CMD-SHELL", args.health_cmd))
    return check
