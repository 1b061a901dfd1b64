"""What a container is given: bad input gets one sentence that says what is wrong."""

import pytest

from manager.control import attached, checks
from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    ContainerSpec,
    FileReference,
    Mount,
    PayloadSpec,
    ServiceSpec,
    TaskSpec,
    VolumeSpec,
)


def service(container):
    return ServiceSpec(name="web", task=TaskSpec(container=container))


def refused(spec):
    with pytest.raises(InvalidArgument) as error:
        checks.service(spec)
    return error.value.message


def with_secrets(*references):
    return service(container=ContainerSpec(image="nginx", secrets=references))


def test_two_files_in_one_place_are_refused_in_the_words_of_docker():
    one, two = FileReference(name="a", target="x"), FileReference(name="b", target="/run/secrets/x")
    assert refused(with_secrets(one, two)).endswith(
        "secret references 'a' and 'b' have a conflicting target: '/run/secrets/x'"
    )
    checks.service(with_secrets(one, FileReference(name="a", target="y")))
    both = ContainerSpec(image="nginx", secrets=(one,), configs=(two,))
    assert refused(service(container=both)).endswith(
        "a secret and a config have a conflicting target: '/run/secrets/x'"
    )
    one, two = (FileReference(name=name, target="/x") for name in "ab")
    assert refused(service(container=ContainerSpec(image="nginx", configs=(one, two)))).endswith(
        "config references 'a' and 'b' have a conflicting target: '/x'"
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"mode": 0o10000}, "mode must be from 0000 to 7777"),
        ({"uid": "root"}, "uid 'root' is not a number"),
        ({"signal": "SIGNOTHING"}, "signal 'SIGNOTHING' is not known"),
    ],
)
def test_the_rights_of_a_file(change, problem):
    assert problem in refused(with_secrets(FileReference(name="a", **change)))


@pytest.mark.parametrize("text", ["", "SIGHUP", "hup", "1", "64"])
def test_signals(text):
    attached.signal(text)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"size": "1m"}, 'invalid option: "size"'),
        ({"type": "nfs"}, 'missing required option: "device"'),
        ({"o": "ro"}, 'missing required option: "device"'),
    ],
)
def test_options_of_a_volume_in_the_words_of_docker(options, problem):
    with pytest.raises(InvalidArgument) as error:
        attached.volume(VolumeSpec(name="data", driver_options=options))
    assert error.value.message.startswith(problem)
    mount = Mount(source="data", target="/data", driver_options=options)
    assert problem in refused(service(container=ContainerSpec(image="nginx", mounts=(mount,))))


def test_options_want_a_name():
    mount = Mount(target="/data", driver_options={"type": "tmpfs", "device": "tmpfs"})
    said = refused(service(container=ContainerSpec(image="nginx", mounts=(mount,))))
    assert "needs a name: use source=NAME" in said


@pytest.mark.parametrize("name", ["", "/data", "a b", "-a"])
def test_names_of_volumes(name):
    with pytest.raises(InvalidArgument, match="invalid characters"):
        attached.volume(VolumeSpec(name=name))


def test_a_volume_may_be_named_by_placeholders():
    mount = Mount(source="data-{{.Task.Slot}}", target="/data")
    checks.service(service(container=ContainerSpec(image="nginx", mounts=(mount,))))


def test_other_drivers_are_refused():
    with pytest.raises(InvalidArgument, match="use local"):
        attached.volume(VolumeSpec(name="data", driver="rexray"))
    spec = PayloadSpec(name="pw", data=b"x", template_driver="jinja")
    with pytest.raises(InvalidArgument, match="use golang"):
        checks.payload("secret", spec, 100)
