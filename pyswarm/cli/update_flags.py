"""The flags `--update-*` and `--rollback-*` of `service create` and `service update`. Pure."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any, Final

from pyswarm.cli.flags.declared import checked, member_of, whole, with_given
from pyswarm.compose.values import duration_seconds
from pyswarm.errors import InvalidArgument
from pyswarm.model import FailureAction, UpdateConfig, UpdateOrder


def _duration(text: str) -> float:
    try:
        return duration_seconds(text)
    except ValueError:
        raise InvalidArgument("use a duration such as 90s or 10m") from None


def _deadline(text: str) -> float:
    seconds = _duration(text)
    if seconds < 1:
        raise InvalidArgument("use at least 1s")
    return seconds


def _ratio(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidArgument("use a number from 0 to 1") from None


_FLAGS: Final[tuple[tuple[str, str, Callable[[str], Any] | None, str], ...]] = (
    (
        "parallelism",
        "parallelism",
        whole(),
        "Maximum number of tasks {} simultaneously (0: all, 1)",
    ),
    ("delay", "delay_seconds", _duration, "Delay between task {}s (0s)"),
    ("monitor", "monitor_seconds", _duration, "Time to watch each task {} for failure (5s)"),
    ("max-failure-ratio", "max_failure_ratio", _ratio, "Failure rate to tolerate during {} (0)"),
    ("failure-action", "failure_action", None, "Action on {} failure ({actions}; pause)"),
    (
        "order",
        "order",
        member_of(UpdateOrder),
        "{} order (start-first or stop-first; stop-first)",
    ),
    (
        "progress-deadline",
        "progress_deadline_seconds",
        _deadline,
        "Time without any progress after which the {} has failed (10m)",
    ),
)
_ACTIONS: Final = {
    "update": (FailureAction.PAUSE, FailureAction.CONTINUE, FailureAction.ROLLBACK),
    # A rollback has nothing to roll back to.
    "rollback": (FailureAction.PAUSE, FailureAction.CONTINUE),
}


def add_policy_flags(parser: ArgumentParser) -> None:
    """The flags of both policies."""
    for policy, actions in _ACTIONS.items():
        words = ", ".join(action.name.lower() for action in actions)
        for name, _, read, text in _FLAGS:
            flag = f"{policy}-{name}"
            reader = checked(flag, read or member_of(actions))
            parser.add_argument(f"--{flag}", type=reader, help=text.format(policy, actions=words))


def policy(args: Namespace, word: str, old: UpdateConfig) -> UpdateConfig:
    """The policy `word` ("update" or "rollback") with what the flags say."""
    return with_given(old, args, {field: f"{word}-{name}" for name, field, _, _ in _FLAGS})
