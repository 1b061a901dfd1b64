"""Flags of update and rollback policies, of steering, and their wrong values."""

from argparse import ArgumentParser, Namespace

import pytest

from pyswarm.cli.main import build_parser
from pyswarm.cli.update_flags import add_policy_flags, policy
from pyswarm.cli.updates import refuse_other_flags, revision_number
from pyswarm.errors import InvalidArgument
from pyswarm.model import FailureAction, UpdateConfig, UpdateOrder


def parsed(*flags: str) -> Namespace:
    parser = ArgumentParser()
    add_policy_flags(parser)
    return parser.parse_args(flags)


@pytest.mark.parametrize("word", ["update", "rollback"])
def test_every_setting_has_a_flag_in_both_policies(word):
    args = parsed(
        *(f"--{word}-parallelism", "3", f"--{word}-delay", "2s", f"--{word}-monitor", "7s"),
        *(f"--{word}-failure-action", "continue", f"--{word}-max-failure-ratio", "0.5"),
        *(f"--{word}-order", "start-first", f"--{word}-progress-deadline", "1m30s"),
    )
    assert policy(args, word, UpdateConfig()) == UpdateConfig(
        parallelism=3,
        delay_seconds=2,
        failure_action=FailureAction.CONTINUE,
        monitor_seconds=7,
        max_failure_ratio=0.5,
        order=UpdateOrder.START_FIRST,
        progress_deadline_seconds=90,
    )
    other = {"update": "rollback", "rollback": "update"}[word]
    assert policy(args, other, UpdateConfig()) == UpdateConfig()


def test_what_is_not_given_stays():
    old = UpdateConfig(parallelism=9, order=UpdateOrder.START_FIRST)
    assert policy(parsed(), "update", old) == old


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--update-parallelism", "-1", "flag needs an argument|use a whole number"),
        (
            "--update-parallelism",
            "many",
            '" flag: use a whole number from 0 on',
        ),
        (
            *("--update-delay", "soon"),
            'invalid argument "soon" for "--update-delay" flag: use a duration such as 90s or 10m',
        ),
        (
            "--rollback-progress-deadline",
            "0s",
            '-deadline" flag: use at least 1s',
        ),
        (
            "--update-max-failure-ratio",
            "half",
            '"half" for "--update-max-failure-ratio" flag: use',
        ),
    ],
)
def test_a_wrong_value_is_a_wrong_command_line(flag, value, words, capsys):
    with pytest.raises(SystemExit):
        parsed(f"{flag}={value}")
    text = capsys.readouterr().err
    assert any(word in text for word in words.split("|"))


def test_steering_stands_alone():
    update = build_parser().parse_args
    refuse_other_flags(update(["service", "update", "--abort", "--detach", "-q", "web"]))
    for more in (["--image", "x"], ["--force"], ["--rollback"], ["--update-order", "stop-first"]):
        args = update(["service", "update", "--abort", *more, "web"])
        with pytest.raises(InvalidArgument, match="not be combined with --abort"):
            refuse_other_flags(args)
    with pytest.raises(SystemExit) as ended:
        update(["service", "update", "--abort", "--pause", "web"])
    assert ended.value.code == 125


def test_a_revision_is_a_number_from_one():
    assert revision_number("12") == 12
    for text in ("0", "-1", "last", "1.5"):
        with pytest.raises(InvalidArgument, match="use a number of the history"):
            revision_number(text)
