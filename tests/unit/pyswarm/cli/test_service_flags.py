"""Flags make a specification, and edit one."""

from argparse import ArgumentParser

import pytest

from pyswarm.cli.flags.mounts import mount
from pyswarm.cli.flags.ports import ports
from pyswarm.cli.pairs import file_reference
from pyswarm.cli.service_flags import add_create_flags, add_update_flags, create_spec, update_spec
from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    FileReference,
    GenericResource,
    Healthcheck,
    Mount,
    MountType,
    NetworkAttachmentConfig,
    Placement,
    PortConfig,
    Protocol,
    PublishMode,
    RestartCondition,
    ServiceMode,
    UpdateOrder,
)


def create(*flags):
    parser = ArgumentParser()
    add_create_flags(parser)
    args = parser.parse_args(flags)
    args.image, args.command = "nginx", ["-g", "daemon off;"]
    return create_spec(args, "some_name")


def update(old, *flags):
    parser = ArgumentParser()
    add_update_flags(parser)
    return update_spec(parser.parse_args(flags), old)


def test_flags_land_in_their_fields():
    spec = create(
        *("--name", "web", "--replicas", "3", "-e", "A=1", "--limit-memory", "64m"),
        *("--limit-cpu", "0.5", "--restart-condition", "on-failure", "--network", "front"),
        *("--update-order", "start-first", "--stop-grace-period", "1m30s", "-l", "a=b"),
    )
    assert (spec.name, spec.replicas, spec.labels) == ("web", 3, {"a": "b"})
    container = spec.task.container
    assert (container.image, container.args) == ("nginx", ("-g", "daemon off;"))
    assert (container.env, container.stop_grace_period_seconds) == (("A=1",), 90.0)
    assert spec.task.resources.limits.memory_bytes == 64 * 1024 * 1024
    assert spec.task.resources.limits.nano_cpus == 500_000_000
    assert spec.task.restart.condition == RestartCondition.ON_FAILURE
    assert spec.task.networks == (NetworkAttachmentConfig(target="front"),)
    assert spec.update.order == UpdateOrder.START_FIRST


def test_a_service_without_a_name_gets_the_one_that_was_made_for_it():
    assert create().name == "some_name"


def test_a_global_service_takes_no_replicas():
    assert create("--mode", "global").mode == ServiceMode.GLOBAL
    with pytest.raises(InvalidArgument, match="replicated"):
        create("--mode", "global", "--replicas", "2")


def test_an_update_touches_only_what_is_named():
    old = create("-e", "A=1", "-e", "B=2", "-p", "8080:80")
    new = update(old, "--env-rm", "A", "--env-add", "C=3", "--image", "nginx:2")
    assert new.task.container.env == ("B=2", "C=3")
    assert new.task.container.image == "nginx:2"
    assert new.endpoint == old.endpoint
    assert new.task.restart == old.task.restart


def test_a_published_port_with_two_targets_is_left_to_the_manager_to_refuse():
    found = create("-p", "8080:80", "-p", "8080:81", "-p", "8080:80").endpoint.ports
    assert [(p.published_port, p.target_port) for p in found] == [(8080, 80), (8080, 81)]


def test_a_target_may_be_published_twice_and_is_removed_once():
    old = create("-p", "8080:80")
    new = update(old, "--publish-add", "9090:80", "--publish-add", "8080:81")
    assert [(p.published_port, p.target_port) for p in new.endpoint.ports] == [
        (9090, 80),
        (8080, 81),
    ]
    assert update(new, "--publish-rm", "80").endpoint.ports == new.endpoint.ports[1:]
    assert update(new, "--publish-rm", "9999").endpoint == new.endpoint


def test_force_makes_the_task_spec_differ():
    old = create()
    assert update(old).task == old.task
    assert update(old, "--force").task != old.task


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", PortConfig(target_port=80)),
        ("8080:80", PortConfig(target_port=80, published_port=8080)),
        (
            "53:53/udp",
            PortConfig(target_port=53, published_port=53, protocol=Protocol.UDP),
        ),
        (
            "published=8080,target=80,mode=host",
            PortConfig(target_port=80, published_port=8080, publish_mode=PublishMode.HOST),
        ),
    ],
)
def test_ports_are_read_in_both_forms(text, expected):
    assert ports(text) == (expected,)


def test_a_range_of_ports_is_published_one_by_one():
    assert [(p.published_port, p.target_port) for p in ports("8000-8002:80-82")] == [
        (8000, 80),
        (8001, 81),
        (8002, 82),
    ]


@pytest.mark.parametrize("text", ["", "x", "80:x", "70000", "80/icmp", "target=80,mode=mesh"])
def test_a_bad_port_is_refused(text):
    with pytest.raises(InvalidArgument, match=r"port|protocol|publish mode"):
        ports(text)


def test_a_mount_is_read():
    assert mount("type=bind,src=/a,dst=/b,ro") == Mount(
        type=MountType.BIND, source="/a", target="/b", read_only=True
    )
    with pytest.raises(InvalidArgument, match="target"):
        mount("type=volume,source=data")


def test_a_secret_is_read_in_both_forms():
    assert file_reference("pw") == FileReference(name="pw", target="pw")
    assert file_reference("source=pw,target=p,mode=0400").mode == 0o400
    with pytest.raises(InvalidArgument, match="octal"):
        file_reference("source=pw,mode=rw")


def check_of(spec):
    return spec.task.container.healthcheck


def test_a_health_check_has_every_flag_of_docker():
    spec = create(
        *("--health-cmd", "curl -f http://localhost", "--health-interval", "5s"),
        *("--health-timeout", "2s", "--health-retries", "4", "--health-start-period", "1m"),
        *("--health-start-interval", "500ms"),
    )
    assert check_of(spec) == Healthcheck(
        test=("CMD-SHELL", "curl -f http://localhost"),
        interval_seconds=5,
        timeout_seconds=2,
        retries=4,
        start_period_seconds=60,
        start_interval_seconds=0.5,
    )
    assert check_of(create("--health-retries", "9")) == Healthcheck(retries=9)


def test_a_health_check_is_turned_off_and_on_again():
    off = create("--no-healthcheck")
    assert check_of(off).test == ("NONE",)
    assert check_of(update(off)) == check_of(off), "an update of something else leaves it"
    assert check_of(update(off, "--health-interval", "5s")) == Healthcheck(interval_seconds=5)
    on = update(off, "--health-cmd", "true")
    assert check_of(on).test == ("CMD-SHELL", "true")
    assert check_of(update(on, "--health-cmd", "")) is None, "the image's counts again"
    with pytest.raises(InvalidArgument, match="--no-healthcheck conflicts with --health-"):
        update(on, "--no-healthcheck", "--health-cmd", "true")


def test_a_job_is_restarted_on_failure_unless_told_otherwise():
    job = create("--mode", "replicated-job", "--replicas", "5", "--max-concurrent", "2")
    assert (job.mode, job.replicas, job.max_concurrent) == (ServiceMode.REPLICATED_JOB, 5, 2)
    assert job.task.restart.condition == RestartCondition.ON_FAILURE
    job = create("--mode", "global-job", "--restart-condition", "none")
    assert job.task.restart.condition == RestartCondition.NONE
    assert update(create("--mode", "replicated-job"), "--max-concurrent", "3").max_concurrent == 3


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--mode", "global-job", "--replicas", "2"], "replicas can only be used with replicated"),
        (["--max-concurrent", "2"], "max-concurrent can only be used with replicated-job mode"),
        (["--mode", "global-job", "--max-concurrent", "2"], "only be used with replicated-job"),
        (["--mode", "global", "--replicas-max-per-node", "2"], "replicas-max-per-node can only"),
        (
            ["--mode", "replicated-job", "--update-delay", "2s"],
            "--update-delay can only be used with replicated or global mode",
        ),
    ],
)
def test_a_flag_of_another_mode_is_refused(flags, words):
    with pytest.raises(InvalidArgument, match=words):
        create(*flags)


def test_placement_and_generic_resources():
    spec = create(
        *("--constraint", "node.role==worker", "--placement-pref", "spread=node.labels.zone"),
        *("--placement-pref", "spread=node.labels.rack", "--replicas-max-per-node", "2"),
        *("--generic-resource", "GPU=2"),
    )
    assert spec.task.placement == Placement(
        constraints=("node.role==worker",),
        spread=("node.labels.zone", "node.labels.rack"),
        max_replicas=2,
    )
    resources = spec.task.resources
    assert resources.reservations.generic == (GenericResource(kind="GPU", count=2),)
    changed = update(
        spec,
        *("--generic-resource-add", "GPU=1", "--generic-resource-add", "SSD=3"),
        *("--placement-pref-rm", "spread=node.labels.zone"),
        *("--placement-pref-add", "spread=node.labels.row"),
        *("--constraint-rm", "node.role==worker"),
    )
    assert changed.task.placement.constraints == ()
    assert changed.task.placement.spread == ("node.labels.rack", "node.labels.row")
    assert changed.task.resources.reservations.generic == (
        GenericResource(kind="GPU", count=1),
        GenericResource(kind="SSD", count=3),
    )
    changed = update(changed, "--generic-resource-rm", "SSD")
    assert [each.kind for each in changed.task.resources.reservations.generic] == ["GPU"]


def test_what_happens_when_a_node_is_lost_can_be_chosen():
    spec = create("--reschedule-after", "2m", "--on-partition", "stop-after=30s")
    assert (spec.reschedule_after_seconds, spec.task.stop_after_seconds) == (120.0, 30.0)
    assert (create().reschedule_after_seconds, create().task.stop_after_seconds) == (0.0, 0.0)
    kept = update(spec, "--on-partition", "keep", "--reschedule-after", "0s")
    assert (kept.reschedule_after_seconds, kept.task.stop_after_seconds) == (0.0, 0.0)
    assert update(spec) == spec


@pytest.mark.parametrize("word", ["stop", "stop-after", "stop-after=0s", "stop-after=soon", "10s"])
def test_a_wrong_word_for_a_partition_is_refused(word, capsys):
    with pytest.raises(SystemExit):
        create("--on-partition", word)
    assert "keep|stop-after=DURATION" in capsys.readouterr().err
