"""The service's wishes over the image's."""

import pytest

from agent.runtime import command
from pyswarm.errors import InvalidArgument
from pyswarm.model import ContainerSpec
from pyswarm.registry.documents import ImageConfig

IMAGE = ImageConfig(entrypoint=("/entry",), command=("default",), env=("PATH=/bin", "A=1", "B=2"))


@pytest.mark.parametrize(
    ("entrypoint", "arguments", "result"),
    [
        ((), (), ("/entry", "default")),
        ((), ("x",), ("/entry", "x")),
        (("/mine",), (), ("/mine",)),
        (("/mine",), ("x",), ("/mine", "x")),
    ],
)
def test_a_command_replaces_the_entrypoint_and_with_it_the_images_command(
    entrypoint, arguments, result
):
    assert command.argv(ContainerSpec(command=entrypoint, args=arguments), IMAGE) == result


def test_without_any_command_there_is_nothing_to_run():
    with pytest.raises(InvalidArgument, match="image web names no command"):
        command.argv(ContainerSpec(image="web"), ImageConfig())


def test_the_environment_is_merged_by_name_and_a_bare_name_removes():
    container = ContainerSpec(env=("A=3", "B", "C=a=b"))
    found = command.environment(container, IMAGE, "box", terminal=False)
    assert found == ("PATH=/bin", "HOSTNAME=box", "A=3", "C=a=b")
    with pytest.raises(InvalidArgument):
        command.environment(ContainerSpec(env=("=x",)), IMAGE, "box", terminal=False)


@pytest.mark.parametrize(
    ("wish", "image", "result"),
    [
        ("", "", "/"),
        ("", "/srv", "/srv"),
        ("app", "/srv", "/app"),
        ("/a/../b/", "", "/b"),
        ("//x", "", "/x"),
        ("/procession", "", "/procession"),
    ],
)
def test_the_working_directory_is_absolute_and_normal(wish, image, result):
    found = command.working_directory(ContainerSpec(workdir=wish), ImageConfig(workdir=image))
    assert found == result


@pytest.mark.parametrize("wish", ["/proc", "/proc/self/fd/7", "/x/../proc/1/cwd", "//proc/1"])
def test_a_working_directory_in_proc_is_refused(wish):
    with pytest.raises(InvalidArgument, match="/proc"):
        command.working_directory(ContainerSpec(workdir=wish), ImageConfig())


def test_signals_have_names_and_numbers():
    names = ("SIGTERM", "term", "15", "SIGRTMIN+3", "KILL")
    assert [command.signal_number(name) for name in names] == [15, 15, 15, 37, 9]
    for bad in ("", "SIGNOPE", "0", "65", "SIGRTMIN+x", "SIG_IGN", "SIGRTMAX+1"):
        with pytest.raises(InvalidArgument, match="no signal"):
            command.signal_number(bad)


def test_the_stop_signal_is_the_services_then_the_images():
    image = ImageConfig(stop_signal="SIGQUIT")
    assert command.stop_signal(ContainerSpec(stop_signal="SIGINT"), image) == "SIGINT"
    assert command.stop_signal(ContainerSpec(), image) == "SIGQUIT"
    assert command.stop_signal(ContainerSpec(), ImageConfig()) == "SIGTERM"
