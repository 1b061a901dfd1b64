"""The words of a command line, before any command runs."""

import asyncio

import pytest

from pyswarm.cli.main import USAGE_CODE, build_parser
from pyswarm.errors import InvalidArgument


def parsed(line: str):
    return build_parser().parse_args(line.split())


@pytest.mark.parametrize(
    ("line", "name", "wanted"),
    [
        ("stack deploy --detach=false -c x.yml st", "detach", False),
        ("service update -d=true web", "detach", True),
        ("service create --with-registry-auth=1 nginx", "with_registry_auth", True),
        ("service update --force=F web", "force", False),
        ("service create --init=false nginx", "init", False),
        ("swarm update --autolock=false", "autolock", False),
        ("swarm update --autolock", "autolock", True),
    ],
)
def test_a_switch_takes_a_value_as_in_dockers_scripts(line, name, wanted):
    assert getattr(parsed(line), name) is wanted


def test_the_words_of_a_container_are_left_alone():
    assert parsed("service create nginx --detach=false").command == ["--detach=false"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "service update --mode replicated web",
            "pyswarm service update: unknown flag: --mode\nSee 'pyswarm service update --help'.",
        ),
        ("events --last=3", "pyswarm events: unknown flag: --last\n"),
        ("--fast service ls", "pyswarm: unknown flag: --fast\n"),
        ("service ls web", "pyswarm service ls: accepts no argument 'web'\n"),
        (
            "service rm --wait=maybe web",
            'invalid argument "maybe" for "--wait" flag: use true or false',
        ),
        ("service create", "pyswarm service create: requires IMAGE\n"),
        ("secret rotate", "pyswarm secret rotate: requires SECRET, FILE\n"),
        ("service create --name", "pyswarm service create: flag needs an argument: --name\n"),
        ("service update --pause --abort web", ": --abort may not be combined with --pause\n"),
        ("service ps -qx web", ': invalid argument "x" for "--quiet" flag: it has no value\n'),
        ("service nosuch", "pyswarm service: unknown command: pyswarm service nosuch\n"),
        ("top", "unknown command: pyswarm top: use 'pyswarm node top' or 'pyswarm service top'\n"),
    ],
)
def test_a_wrong_word_is_named_with_its_command(line, words, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed(line)
    assert ended.value.code == USAGE_CODE
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "flag", "value", "why"),
    [
        ("node update m1", "role", "boss", "use one of worker, manager"),
        ("node update m1", "availability", "away", "use one of active, pause, drain"),
        ("service create nginx", "mode", "some", "use one of replicated, global, "),
        ("service create nginx", "endpoint-mode", "x", "use one of vip, dnsrr"),
        ("service create nginx", "restart-condition", "x", "use one of none, on-failure, any"),
        ("service update web", "update-order", "sideways", "use one of stop-first, start-first"),
        ("service update web", "update-failure-action", "x", "use one of pause, continue, roll"),
        ("service update web", "rollback-failure-action", "rollback", "use one of pause, contin"),
        ("stack deploy", "resolve-image", "x", "use one of always, changed, never"),
        ("swarm update", "task-history-limit", "few", "use a whole number from -1 on"),
        ("swarm update", "snapshot-interval", "9" * 30, "use a whole number from 0 on"),
        ("lab up", "managers", "few", "this is no whole number"),
        ("swarm update", "cert-expiry", "soon", "this is no duration"),
        ("service top web", "interval", "x", "this is no number"),
        ("service rollback web", "to", "first", "use a number of the history"),
        ("service rollback web", "to", "9" * 30, "use a number of the history"),
        ("stack logs shop", "tail", "few", "use a number of lines or all"),
        ("stack logs shop", "tail", "9" * 30, "use a number of lines or all"),
        ("service ls", "filter", "web", "use key=value"),
        ("events", "filter", "web", "use key=value"),
    ],
)
def test_a_wrong_value_has_one_sentence_whatever_the_flag(command, flag, value, why, capsys):
    noun, *rest = command.split()
    with pytest.raises(SystemExit) as ended:
        parsed(" ".join([noun, *rest[:1], f"--{flag}={value}", *rest[1:]]))
    assert ended.value.code == USAGE_CODE
    assert f'invalid argument "{value}" for "--{flag}" flag: {why}' in capsys.readouterr().err


@pytest.mark.parametrize(
    "flag",
    [
        "--availability drain",
        "--autolock=false",
        "--cert-expiry 2h",
        "--data-path-port 4790",
        "--default-addr-pool 10.9.0.0/16",
        "--default-addr-pool-mask-length 26",
        "--image-grace 2h",
    ],
)
def test_a_swarm_that_goes_on_alone_takes_no_settings_of_a_new_one(flag):
    args = parsed(f"swarm init --force-new-cluster --dry-run {flag}")
    with pytest.raises(InvalidArgument, match=f"{flag.split('=')[0].split()[0]} is of a new swarm"):
        asyncio.run(args.run(args, None))
