"""A history in words."""

from dataclasses import replace

import pytest

from pyswarm.cli.listings import revisions
from pyswarm.cli.spec_changes import changes
from pyswarm.model import (
    ContainerSpec,
    EndpointSpec,
    Meta,
    Placement,
    PortConfig,
    ResourceRequirements,
    Resources,
    Revision,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
    UpdateOrder,
)

CONTAINER = ContainerSpec(image="nginx:1", env=("A=1", "B=1"))
WEB = ServiceSpec(name="web", task=TaskSpec(container=CONTAINER))


def with_container(**fields):
    return replace(WEB, task=replace(WEB.task, container=replace(CONTAINER, **fields)))


def with_task(**fields):
    return replace(WEB, task=replace(WEB.task, **fields))


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (WEB, []),
        (replace(WEB, replicas=5), ["replicas: 1 -> 5"]),
        (with_container(image="nginx:2"), ["image: nginx:1 -> nginx:2"]),
        (with_container(env=("A=2", "B=1")), ["env: +A=2 -A=1"]),
        (with_container(env=("B=1", "A=1")), ["env: order"]),
        (with_container(user="www"), ["user: none -> www"]),
        (with_container(stop_grace_period_seconds=3.0), ["stop grace period: 10s -> 3s"]),
        (with_task(force_update=1), ["forced"]),
        (
            with_task(placement=Placement(constraints=("node.role==worker",))),
            ["placement constraints: +node.role==worker"],
        ),
        (
            with_task(resources=ResourceRequirements(limits=Resources(pids=9))),
            ["limits pids: 0 -> 9"],
        ),
        (replace(WEB, labels={"a": "b"}), ["labels: +a=b"]),
        (
            replace(WEB, update=UpdateConfig(order=UpdateOrder.START_FIRST)),
            ["update order: stop-first -> start-first"],
        ),
        (
            replace(WEB, endpoint=EndpointSpec(ports=(PortConfig(target_port=80),))),
            ["ports: +80"],
        ),
        (
            replace(with_container(image="x" * 99), replicas=0),
            [f"image: nginx:1 -> {'x' * 57}...", "replicas: 1 -> 0"],
        ),
    ],
)
def test_each_change_has_its_words(new, words):
    assert sorted(changes(WEB, new)) == sorted(words)


def test_the_newest_comes_first_and_the_present_one_has_a_star():
    found = [
        Revision(number=3, spec=WEB, cause="created", meta=Meta(created_at=40.0)),
        Revision(number=4, spec=replace(WEB, replicas=2), meta=Meta(created_at=70.0)),
    ]
    listing = revisions(found, 4, now=100.0)
    assert listing.text() == (
        "REVISION   CREATED              CHANGES            CAUSE\n"
        "4 *        30 seconds ago       replicas: 1 -> 2\n"
        "3          About a minute ago   image: nginx:1     created"
    )
    assert '"Current": true' in listing.text("json").splitlines()[0]


def test_many_changes_are_cut_unless_all_are_asked_for():
    found = [
        Revision(number=1, spec=WEB),
        Revision(number=2, spec=with_container(image="n", user="a" * 40, workdir="b" * 40)),
    ]
    assert len(revisions(found, 2, 0.0).rows[0].values["Changes"]) == 80
    assert len(revisions(found, 2, 0.0, full=True).rows[0].values["Changes"]) > 80
