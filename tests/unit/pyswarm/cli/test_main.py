"""The words of a command line, before any command runs."""

import pytest

from pyswarm.cli.main import USAGE_CODE, build_parser


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
    ],
)
def test_a_wrong_word_is_named_with_its_command(line, words, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed(line)
    assert ended.value.code == USAGE_CODE
    assert words in capsys.readouterr().err
