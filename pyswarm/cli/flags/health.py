"""The flags of a service's health check: `--health-*` and `--no-healthcheck`. Pure."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from typing import Final

from pyswarm.cli.flags.declared import DURATION, Single, whole
from pyswarm.errors import InvalidArgument
from pyswarm.model import Healthcheck

SINGLE = (
    Single("health-cmd", None, "Command to run to check health"),
    Single("health-interval", DURATION, "Time between running the check"),
    Single("health-timeout", DURATION, "Maximum time to allow one check to run"),
    Single("health-start-period", DURATION, "Start period before retries count"),
    Single("health-retries", whole(), "Consecutive failures needed to report unhealthy"),
    Single(
        "health-start-interval", DURATION, "Time between running the check during the start period"
    ),
)
_FIELDS: Final = {
    "interval_seconds": "health_interval",
    "timeout_seconds": "health_timeout",
    "start_period_seconds": "health_start_period",
    "retries": "health_retries",
    "start_interval_seconds": "health_start_interval",
}


def add_flags(parser: ArgumentParser) -> None:
    """The one that is no `Single`."""
    text = "Disable any container-specified HEALTHCHECK"
    parser.add_argument("--no-healthcheck", action="store_true", help=text)


def edit(args: Namespace, old: Healthcheck | None) -> Healthcheck | None:
    """The check after the flags; None leaves all of it to the image. An empty `--health-cmd` gives
    the command back to the image, and any `--health-*` ends `--no-healthcheck`, as in Docker."""
    given = {
        field: value
        for field, flag in _FIELDS.items()
        if (value := getattr(args, flag)) is not None
    }
    command: str | None = args.health_cmd
    if args.no_healthcheck:
        if given or command is not None:
            raise InvalidArgument("--no-healthcheck conflicts with --health-* options")
        return Healthcheck(test=("NONE",))
    if not given and command is None:
        return old
    if any(value < 0 for value in given.values()):
        raise InvalidArgument("--health-retries cannot be negative")
    check = replace(old or Healthcheck(), **given)
    if command is not None:
        check = replace(check, test=("CMD-SHELL", command) if command else ())
    elif check.test == ("NONE",):
        check = replace(check, test=())
    return None if check == Healthcheck() else check
