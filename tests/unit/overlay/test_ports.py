from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from overlay import ports
from overlay.desired import Attached, Leg
from overlay.ports import PublishedPort
from pyswarm.model import EndpointSet, PortConfig, Protocol, ServiceEndpoint, TaskEndpoint

WEB = PublishedPort(8080, Protocol.TCP)
INGRESS = EndpointSet(
    network_id="ingress",
    ingress=True,
    services=(
        ServiceEndpoint(
            service_id="web",
            name="web",
            ports=(
                PortConfig(published_port=8080, target_port=80),
                PortConfig(published_port=53, target_port=5353, protocol=Protocol.UDP),
            ),
        ),
    ),
    tasks=(
        TaskEndpoint(task_id="a", service_id="web", address="10.0.0.3", ready=True),
        TaskEndpoint(task_id="b", service_id="web", address="10.0.0.4", ready=True),
        TaskEndpoint(task_id="c", service_id="web", address="10.0.0.5"),
    ),
)


def test_an_ingress_port_leads_to_the_tasks_that_take_connections():
    assert ports.ingress_ports([INGRESS], {"b"}) == {
        WEB: (("10.0.0.3", 80),),
        PublishedPort(53, Protocol.UDP): (("10.0.0.3", 5353),),
    }


def test_a_published_port_without_tasks_is_still_ours():
    assert ports.ingress_ports([replace(INGRESS, tasks=())], ())[WEB] == ()


def test_only_the_ingress_network_publishes():
    assert ports.ingress_ports([replace(INGRESS, ingress=False)], ()) == {}


def test_a_host_mode_port_leads_to_the_leg_with_the_way_out():
    legs = (
        Leg(task_id="t", network_id="inner", device="eth0", address="10.0.1.3"),
        Leg(task_id="t", network_id="local", device="eth1", address="172.18.0.2", exit=True),
    )
    attached = Attached(
        task_id="t", legs=legs, host_ports=(PortConfig(published_port=8080, target_port=80),)
    )
    assert ports.host_ports([attached], {"other"}) == {WEB: (("172.18.0.2", 80),)}


def test_the_host_mode_port_of_a_task_that_shall_stop_leads_nowhere_and_is_still_ours():
    port = PortConfig(published_port=8080, target_port=80)
    assert ports.host_ports([Attached(task_id="t", host_ports=(port,))], {"t"}) == {WEB: ()}


PUBLISHED = st.dictionaries(
    st.sampled_from([WEB, PublishedPort(8080, Protocol.UDP), PublishedPort(1, Protocol.TCP)]),
    st.lists(
        st.tuples(st.sampled_from(["10.0.0.3", "10.0.0.4", "10.0.0.5"]), st.integers(80, 81)),
        max_size=4,
        unique=True,
    ).map(tuple),
)


@given(PUBLISHED, PUBLISHED)
def test_changes_lead_from_any_state_to_any_other(old, new):
    kernel = {"published": {}, "targets": {}}

    def run(commands):
        for command in commands:
            verb, _, _, _, name, rest = command.split(" ", 5)
            for item in rest.strip("{ }").split(", "):
                key, _, value = item.partition(" : ")
                if verb == "add":
                    assert key not in kernel[name]
                    kernel[name][key] = value
                else:
                    assert kernel[name].pop(key) == value

    run(ports.changes({}, old))
    run(ports.changes(old, new))
    assert kernel["published"] == {p.key: f"goto lb_{len(t)}" for p, t in new.items() if t}
    assert kernel["targets"] == {
        f"{p.key} . {i} : ".removesuffix(" : "): f"{a} . {n}"
        for p, targets in new.items()
        for i, (a, n) in enumerate(targets)
    }


def test_the_set_of_nodes_follows():
    assert ports.node_changes(["1.1.1.1"], ["1.1.1.2"]) == [
        "delete element ip pyswarm nodes { 1.1.1.1 }",
        "add element ip pyswarm nodes { 1.1.1.2 }",
    ]
