import pytest

from manager.placement.constraint import parse, satisfied
from manager.placement.fit import platform_fits, size_fits
from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    Node,
    NodeDescription,
    NodeRole,
    NodeSpec,
    NodeStatus,
    Platform,
    ResourceRequirements,
    Resources,
    TaskSpec,
)

NODE = Node(
    id="n1",
    role=NodeRole.MANAGER,
    spec=NodeSpec(labels={"zone": "East"}),
    status=NodeStatus(address="192.0.2.7"),
    description=NodeDescription(
        hostname="host-1",
        platform=Platform(os="linux", architecture="x86_64"),
        resources=Resources(nano_cpus=2 * 10**9, memory_bytes=1 << 30),
        engine_labels={"disk": "ssd"},
    ),
)


@pytest.mark.parametrize(
    "text",
    [
        "node.id==n1",
        "node.id != n2",
        "node.hostname == HOST-1",
        "node.role==manager",
        "node.role!=worker",
        "node.ip==192.0.2.7",
        "node.ip==192.0.2.0/24",
        "node.ip!=198.51.100.0/24",
        "node.platform.os==linux",
        "node.platform.arch==amd64",
        "node.platform.arch==x86_64",
        "node.labels.zone==east",
        "node.labels.absent!=anything",
        "engine.labels.disk==ssd",
    ],
)
def test_a_constraint_that_holds(text):
    assert satisfied([text], NODE)


@pytest.mark.parametrize(
    "text",
    [
        "node.id==n2",
        "node.role==worker",
        "node.ip==192.0.2.8",
        "node.ip==nonsense",
        "node.labels.zone!=EAST",
        "node.labels.absent==x",
        "engine.labels.disk==hdd",
        "unreadable",
    ],
)
def test_a_constraint_that_does_not_hold(text):
    assert not satisfied(["node.id==n1", text], NODE)


@pytest.mark.parametrize("text", ["", "node.id=n1", "node.colour==red", "==x", "node.id=="])
def test_a_constraint_that_says_nothing_is_refused(text):
    with pytest.raises(InvalidArgument, match="placement constraint"):
        parse(text)


def test_one_of_the_platforms_is_enough():
    assert platform_fits((), NODE)
    assert platform_fits((Platform(os="linux", architecture="arm64"), Platform(os="linux")), NODE)
    assert platform_fits((Platform(os="linux", architecture="amd64"),), NODE)
    assert not platform_fits((Platform(os="linux", architecture="arm64"),), NODE)


def test_a_reservation_may_be_as_large_as_the_node():
    def reserving(cpus, memory):
        wanted = Resources(nano_cpus=cpus, memory_bytes=memory)
        return TaskSpec(resources=ResourceRequirements(reservations=wanted))

    assert size_fits(reserving(2 * 10**9, 1 << 30), NODE)
    assert not size_fits(reserving(2 * 10**9 + 1, 0), NODE)
    assert not size_fits(reserving(0, (1 << 30) + 1), NODE)
