"""What people are shown of a node."""

import pytest

from pyswarm.cli import listings
from pyswarm.cli.jsonview import to_json
from pyswarm.cli.node_view import node_facts, pretty, tls_status
from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    ManagerStatus,
    Meta,
    Node,
    NodeDescription,
    NodeSpec,
    NodeState,
    NodeStatus,
    Platform,
    Reachability,
    ResourceRequirements,
    Resources,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
)

ROOT = "sha256:new"
NODE = Node(
    id="n" * 25,
    meta=Meta(created_at=1_000_000.0),
    spec=NodeSpec(labels={"zone": "a"}),
    description=NodeDescription(
        hostname="w1",
        platform=Platform(os="linux", architecture="amd64"),
        resources=Resources(nano_cpus=4 * 10**9, memory_bytes=4 << 30),
        engine_version="0.2.0",
        engine_labels={"disk": "ssd"},
        certificate_root=ROOT,
    ),
    status=NodeStatus(state=NodeState.READY, address="192.0.2.1"),
    manager=ManagerStatus(address="192.0.2.1:2377", reachability=Reachability.REACHABLE),
    certificates_end_at=2_000_000.0,
)


def task(state=TaskState.RUNNING, node_id=NODE.id):
    reserved = Resources(nano_cpus=5 * 10**8, memory_bytes=256 << 20)
    spec = TaskSpec(resources=ResourceRequirements(reservations=reserved))
    return Task(id="t", node_id=node_id, spec=spec, status=TaskStatus(state=state))


def test_what_is_reserved_is_what_tasks_that_have_not_ended_hold_here():
    tasks = [task(), task(TaskState.PREPARING), task(TaskState.FAILED), task(node_id="other")]
    facts = node_facts(NODE, tasks, ROOT)
    assert facts.tasks == 2
    assert facts.reserved == Resources(nano_cpus=10**9, memory_bytes=512 << 20)


def test_a_certificate_is_ready_of_another_root_or_unknown():
    assert tls_status(NODE, ROOT) == "Ready"
    assert tls_status(NODE, "sha256:newer") == "Needs Rotation"
    assert tls_status(Node(), ROOT) == "Unknown"


def test_pretty_says_it_in_dockers_words():
    text = pretty(NODE, node_facts(NODE, [task()], ROOT), now=1_500_000.0)
    assert text.splitlines() == [
        "ID:                     nnnnnnnnnnnnnnnnnnnnnnnnn",
        "Labels:",
        " - zone=a",
        "Hostname:               w1",
        "Joined at:              1970-01-12T13:46:40.000Z",
        "Status:",
        " State:                 Ready",
        " Availability:          Active",
        " Address:               192.0.2.1",
        "Manager Status:",
        " Address:               192.0.2.1:2377",
        " Raft Status:           Reachable",
        " Leader:                No",
        "Platform:",
        " Operating System:      linux",
        " Architecture:          amd64",
        "Resources:",
        " CPUs:                  4 (0.5 reserved)",
        " Memory:                4GiB (256MiB reserved)",
        " Tasks:                 1",
        "Engine Version:         0.2.0",
        "Engine Labels:",
        " - disk=ssd",
        "TLS Info:",
        " Status:                Ready",
        " Root:                  sha256:new",
        " Expires:               1970-01-24T03:33:20.000Z (in 5 days)",
    ]


def test_pretty_of_a_node_that_is_down_says_why_and_since_when():
    status = NodeStatus(state=NodeState.DOWN, message="no heartbeat for 3 s", silent_since=940.0)
    text = pretty(Node(id="n", status=status), node_facts(Node(), [], ROOT), now=1000.0)
    assert " Message:               no heartbeat for 3 s" in text
    assert " Silent for:            about a minute" in text


def test_json_has_times_and_the_status_of_the_certificate():
    assert to_json(NODE)["CertificatesEndAt"] == "1970-01-24T03:33:20.000Z"
    facts = to_json(node_facts(NODE, [task()], ROOT))
    assert (facts["TLSStatus"], facts["Tasks"]) == ("Ready", 1)
    assert facts["Reserved"]["NanoCPUs"] == 5 * 10**8


def listing():
    return listings.nodes([NODE], "", {NODE.id: node_facts(NODE, [task()], ROOT)})


def test_templates_take_every_placeholder():
    shown = listing().text("{{.Hostname}} {{ .TLSStatus }} {{.ReservedCPUs}}/{{.CPUs}} {{.Self}}")
    assert shown == "w1 Ready 0.5/4 false"


def test_a_table_of_ones_own():
    assert listing().text(r"table {{.Hostname}}\t{{.TLSStatus}}\t{{.ManagerStatus}}") == (
        "HOSTNAME   TLS STATUS   MANAGER STATUS\nw1         Ready        Reachable"
    )


def test_a_field_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(InvalidArgument, match=r"\.Nothing is not known, use one of .*Hostname"):
        listing().text("{{.Nothing}}")
