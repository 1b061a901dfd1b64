"""Bad input gets one sentence that says what is wrong."""

import pytest

from manager.control import checks
from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    ContainerSpec,
    EndpointSpec,
    FileReference,
    Mount,
    MountType,
    NetworkSpec,
    PayloadSpec,
    Placement,
    PortConfig,
    ResolutionMode,
    ResourceRequirements,
    Resources,
    ServiceSpec,
    TaskSpec,
    VolumeSpec,
)


def service(name="web", container=None, **task):
    container = container or ContainerSpec(image="nginx")
    return ServiceSpec(name=name, task=TaskSpec(container=container, **task))


def refused(spec):
    with pytest.raises(InvalidArgument) as error:
        checks.service(spec)
    return error.value.message


def test_a_good_service_passes():
    checks.service(service())


@pytest.mark.parametrize("name", ["", "-web", "web.", "a b", "x" * 64])
def test_a_name_must_be_a_dns_label(name):
    assert "name" in refused(service(name))


def test_an_unknown_constraint_key_is_refused_at_once():
    text = refused(service(placement=Placement(constraints=("node.colour==red",))))
    assert "unknown key node.colour" in text


def test_a_constraint_needs_an_operator():
    assert "key==value" in refused(service(placement=Placement(constraints=("node.role",))))


def test_too_little_memory_is_refused():
    limits = ResourceRequirements(limits=Resources(memory_bytes=1024))
    assert "4MiB" in refused(service(resources=limits))


def test_ingress_ports_need_a_virtual_address():
    spec = ServiceSpec(
        name="web",
        task=service().task,
        endpoint=EndpointSpec(
            mode=ResolutionMode.DNSRR, ports=(PortConfig(target_port=80, published_port=80),)
        ),
    )
    assert "dnsrr" in refused(spec)


def test_a_port_published_twice_is_refused():
    port = PortConfig(target_port=80, published_port=8080)
    spec = ServiceSpec(name="web", task=service().task, endpoint=EndpointSpec(ports=(port, port)))
    assert "duplicate published ports provided: 8080" in refused(spec)


def test_a_relative_bind_source_is_refused():
    mount = Mount(type=MountType.BIND, source="data", target="/data")
    assert "absolute path: data" in refused(
        service(container=ContainerSpec(image="nginx", mounts=(mount,)))
    )


def test_a_secret_must_have_content_below_the_limit():
    for data in (b"", b"x" * 100):
        with pytest.raises(InvalidArgument, match="larger than 0 and less than 100"):
            checks.payload("secret", PayloadSpec(name="s", data=data), 100)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (NetworkSpec(name="n", driver="bridge"), "driver 'bridge'"),
        (NetworkSpec(name="n", subnet="10.0.0.1/24"), "host bits"),
        (NetworkSpec(name="n", subnet="10.0.0.0/30"), "too small"),
        (NetworkSpec(name="n", subnet="10.0.0.0/24", gateway="10.0.1.1"), "not in its subnet"),
        (NetworkSpec(name="n", driver_options={"encrypted": ""}), "encrypted"),
        (NetworkSpec(name="a b"), "name"),
    ],
)
def test_a_network_that_cannot_be_is_refused(spec, words):
    with pytest.raises(InvalidArgument, match=words):
        checks.network(spec)


def with_secrets(*references):
    return service(container=ContainerSpec(image="nginx", secrets=references))


def test_two_files_in_one_place_are_refused_in_the_words_of_docker():
    one, two = FileReference(name="a", target="x"), FileReference(name="b", target="/run/secrets/x")
    assert refused(with_secrets(one, two)).endswith(
        "secret references 'a' and 'b' have a conflicting target: '/run/secrets/x'"
    )
    checks.service(with_secrets(one, FileReference(name="a", target="y")))


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
    checks.signal(text)


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
        checks.volume(VolumeSpec(name="data", driver_options=options))
    assert error.value.message.startswith(problem)
    mount = Mount(source="data", target="/data", driver_options=options)
    assert problem in refused(service(container=ContainerSpec(image="nginx", mounts=(mount,))))


@pytest.mark.parametrize("name", ["", "/data", "a b", "-a"])
def test_names_of_volumes(name):
    with pytest.raises(InvalidArgument, match="invalid characters"):
        checks.volume(VolumeSpec(name=name))


def test_a_volume_may_be_named_by_placeholders():
    mount = Mount(source="data-{{.Task.Slot}}", target="/data")
    checks.service(service(container=ContainerSpec(image="nginx", mounts=(mount,))))


def test_other_drivers_are_refused():
    with pytest.raises(InvalidArgument, match="use local"):
        checks.volume(VolumeSpec(name="data", driver="rexray"))
    spec = PayloadSpec(name="pw", data=b"x", template_driver="jinja")
    with pytest.raises(InvalidArgument, match="use golang"):
        checks.payload("secret", spec, 100)
