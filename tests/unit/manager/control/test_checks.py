"""Bad input gets one sentence that says what is wrong."""

from dataclasses import replace

import pytest

from manager.control import checks
from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    ContainerSpec,
    EndpointSpec,
    GenericResource,
    Healthcheck,
    Mount,
    MountType,
    NetworkSpec,
    PayloadSpec,
    Placement,
    PortConfig,
    ResolutionMode,
    ResourceRequirements,
    Resources,
    RestartCondition,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
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


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (Healthcheck(interval_seconds=0.0001), "Interval in Healthcheck cannot be less than 1ms"),
        (Healthcheck(start_interval_seconds=0.0001), "StartInterval in Healthcheck cannot be less"),
        (Healthcheck(retries=-1), "Retries in Healthcheck cannot be negative"),
        (Healthcheck(test=("curl", "x")), 'Unknown healthcheck type "curl"'),
        (Healthcheck(test=("CMD",)), "names no command"),
    ],
)
def test_a_health_check_that_cannot_be_is_refused(check, words):
    assert words in refused(service(container=ContainerSpec(image="nginx", healthcheck=check)))


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


def test_a_job_has_no_update_config_and_runs_nothing_again_that_completed():
    def job(mode=ServiceMode.REPLICATED_JOB, condition=RestartCondition.ON_FAILURE, **changes):
        spec = service(restart=RestartPolicy(condition=condition))
        return replace(spec, mode=mode, **changes)

    checks.service(job(max_concurrent=2))
    assert "update or rollback config" in refused(job(update=UpdateConfig(parallelism=2)))
    assert "update or rollback config" in refused(job(rollback=UpdateConfig(parallelism=2)))
    assert "use on-failure or none" in refused(job(condition=RestartCondition.ANY))
    assert "must not be negative" in refused(job(max_concurrent=-1))
    words = "max-concurrent can only be used with replicated-job mode"
    assert words in refused(job(ServiceMode.GLOBAL_JOB, max_concurrent=1))
    assert words in refused(job(ServiceMode.REPLICATED, max_concurrent=1))


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (
            ResourceRequirements(limits=Resources(generic=(GenericResource(kind="GPU", count=1),))),
            "reserved and not limited",
        ),
        (
            ResourceRequirements(
                reservations=Resources(generic=(GenericResource(kind="GPU", value="UUID1"),))
            ),
            "invalid generic-resource request `GPU=UUID1`",
        ),
        (
            ResourceRequirements(
                reservations=Resources(generic=(GenericResource(kind="GPU", count=1),) * 2)
            ),
            "duplicate generic-resource `GPU`",
        ),
    ],
)
def test_generic_resources(resources, words):
    assert words in refused(service(resources=resources))


def test_placement_that_can_never_be():
    assert "unknown key foo" in refused(service(placement=Placement(constraints=("foo==bar",))))
    assert "neither an address nor a network" in refused(
        service(placement=Placement(constraints=("node.ip==here",)))
    )
    assert "spread=foo is not known" in refused(service(placement=Placement(spread=("foo",))))
    checks.service(service(placement=Placement(spread=("Node.Labels.zone", "engine.labels.x"))))


def test_a_lease_must_outlast_a_change_of_the_leader():
    spec = ServiceSpec(name="web", task=TaskSpec(container=ContainerSpec(image="web")))
    short = replace(spec, task=replace(spec.task, stop_after_seconds=5.0))
    with pytest.raises(InvalidArgument, match="at least 10s"):
        checks.service(short)
    checks.service(replace(spec, task=replace(spec.task, stop_after_seconds=10.0)))


def test_a_global_service_has_no_other_place_to_be_rescheduled_to():
    spec = ServiceSpec(name="web", task=TaskSpec(container=ContainerSpec(image="web")))
    late = replace(spec, reschedule_after_seconds=60.0)
    checks.service(late)
    with pytest.raises(InvalidArgument, match="reschedule-after can only be used"):
        checks.service(replace(late, mode=ServiceMode.GLOBAL))
