"""Records to rows."""

import json

import pytest

from pyswarm.cli import listings
from pyswarm.cli.listings import CountedService
from pyswarm.compose import NAMESPACE_LABEL
from pyswarm.model import (
    Availability,
    Config,
    ContainerSpec,
    Endpoint,
    ManagerStatus,
    Meta,
    Network,
    NetworkSpec,
    Node,
    NodeDescription,
    NodeSpec,
    NodeState,
    NodeStatus,
    PayloadSpec,
    Placement,
    PortConfig,
    Protocol,
    PublishMode,
    Reachability,
    Secret,
    Service,
    ServiceMode,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
)

NOW = 1_000_000.0


def node(node_id, hostname, **changes):
    return Node(
        id=node_id,
        description=NodeDescription(hostname=hostname, engine_version="0.1.0"),
        status=NodeStatus(state=NodeState.READY),
        **changes,
    )


def test_nodes_sort_naturally_and_a_star_marks_this_one():
    listing = listings.nodes(
        [
            node("c", "n10", spec=NodeSpec(availability=Availability.DRAIN)),
            node("b", "n2", manager=ManagerStatus(reachability=Reachability.REACHABLE)),
            node("a", "n1", manager=ManagerStatus(leader=True)),
        ],
        self_id="a",
    )
    assert listing.text() == (
        "ID        HOSTNAME   STATUS    AVAILABILITY   MANAGER STATUS   ENGINE VERSION\n"
        "a *       n1         Ready     Active         Leader           0.1.0\n"
        "b         n2         Ready     Active         Reachable        0.1.0\n"
        "c         n10        Ready     Drain                           0.1.0"
    )
    first = json.loads(listing.text("json").splitlines()[0])
    assert (first["ID"], first["Self"], first["ManagerStatus"]) == ("a", True, "Leader")
    assert listing.text(quiet=True) == "a\nb\nc"


def service(name, **task):
    return Service(id=name * 20, spec=ServiceSpec(name=name, task=TaskSpec(**task)))


def test_services_with_replicas_ports_and_an_image_without_digest():
    web = service(
        "web",
        container=ContainerSpec(image="nginx:1@sha256:abc"),
        placement=Placement(max_replicas=2),
    )
    web = Service(
        id=web.id,
        spec=web.spec,
        endpoint=Endpoint(ports=(PortConfig(target_port=80, published_port=8080),)),
    )
    listing = listings.services([CountedService(service=web, running=2, desired=3)])
    assert listing.rows[0].cells == (
        "webwebwebweb",
        "web",
        "replicated",
        "2/3 (max 2 per node)",
        "nginx:1",
        "*:8080->80/tcp",
    )
    assert set(listing.rows[0].values) == {"ID", "Name", "Mode", "Replicas", "Image", "Ports"}


@pytest.mark.parametrize(
    ("mode", "shown"),
    [
        (ServiceMode.REPLICATED_JOB, "1/2 (3/5 completed)"),
        (ServiceMode.GLOBAL_JOB, "1/2 (3/5 completed)"),
    ],
)
def test_a_job_shows_what_has_completed_of_all(mode, shown):
    service = Service(spec=ServiceSpec(name="j", mode=mode, replicas=5, max_concurrent=2))
    counted = CountedService(service=service, running=1, desired=2, completed=3)
    [row] = listings.services([counted]).rows
    assert (row.values["Mode"], row.values["Replicas"]) == (mode.word, shown)


def test_neighbouring_ports_are_a_range_and_host_ports_are_not_shown():
    ports = [
        PortConfig(target_port=81, published_port=8081),
        PortConfig(target_port=80, published_port=8080),
        PortConfig(target_port=53, published_port=53, protocol=Protocol.UDP),
        PortConfig(target_port=9, published_port=9, publish_mode=PublishMode.HOST),
        PortConfig(target_port=90, published_port=8082),
        PortConfig(target_port=1),
    ]
    assert listings.ports_text(ports) == "*:53->53/udp, *:8080-8081->80-81/tcp, *:8082->90/tcp"
    apart = [PortConfig(target_port=p, published_port=p) for p in (80, 82)]
    assert listings.ports_text(apart) == "*:80->80/tcp, *:82->82/tcp"


def task(task_id, created_at, **changes):
    fields = {
        "service_name": "web",
        "slot": 1,
        "node_id": "n1",
        "spec": TaskSpec(container=ContainerSpec(image="nginx:1@sha256:abc")),
        "status": TaskStatus(state=TaskState.RUNNING, timestamp=NOW - 300),
        "meta": Meta(created_at=created_at),
    }
    return Task(id=task_id * 20, **(fields | changes))


def test_tasks_show_their_history_under_them_newest_first():
    error = "task: non-zero exit (1): it went wrong"
    old = task(
        "b",
        1.0,
        desired_state=TaskState.SHUTDOWN,
        status=TaskStatus(state=TaskState.FAILED, timestamp=NOW - 75, error=error),
    )
    pending = task("d", 1.0, slot=10, node_id="", status=TaskStatus(timestamp=NOW))
    listing = listings.tasks(
        [pending, old, task("a", 2.0), task("c", 1.0, slot=2)], {"n1": "h1"}, NOW
    )
    assert listing.text() == (
        "ID             NAME        IMAGE     NODE      DESIRED STATE   "
        "CURRENT STATE                ERROR                              PORTS\n"
        "aaaaaaaaaaaa   web.1       nginx:1   h1        Running         "
        "Running 5 minutes ago\n"
        "bbbbbbbbbbbb    \\_ web.1   nginx:1   h1        Shutdown        "
        'Failed about a minute ago    "task: non-zero exit (1): it w…"\n'
        "cccccccccccc   web.2       nginx:1   h1        Running         "
        "Running 5 minutes ago\n"
        "dddddddddddd   web.10      nginx:1             Running         "
        "New less than a second ago"
    )
    full = listings.tasks([old], {}, NOW, full=True).rows[0]
    assert (full.values["ID"], full.values["Node"]) == ("b" * 20, "n1")
    assert full.values["Error"] == f'"{error}"'
    assert full.values["Image"] == "nginx:1@sha256:abc"


def test_a_task_of_a_global_service_is_named_after_its_node_and_shows_host_ports():
    status = TaskStatus(ports=(PortConfig(target_port=80, published_port=8080),))
    row = listings.tasks([task("a", 1.0, slot=0, status=status)], {}, NOW).rows[0]
    assert (row.values["Name"], row.values["Ports"]) == ("web.n1", "*:8080->80/tcp")


def test_networks_have_short_ids_unless_full_ones_are_asked_for():
    network = Network(id="n" * 25, spec=NetworkSpec(name="net", internal=True, labels={"b": "c"}))
    row = listings.networks([network]).rows[0]
    assert row.cells == ("n" * 12, "net", "overlay", "swarm")
    assert (row.values["Internal"], row.values["Labels"]) == ("true", "b=c")
    assert listings.networks([network], full=True).text(quiet=True) == "n" * 25


def test_secrets_show_their_age_and_never_their_content():
    meta = Meta(created_at=NOW - 7200, updated_at=NOW - 60)
    secret = Secret(id="s", meta=meta, spec=PayloadSpec(name="pw", data=b"hunter2"))
    listing = listings.payloads(Secret, [secret], NOW)
    assert listing.rows[0].cells == ("s", "pw", "", "2 hours ago", "About a minute ago", "1")
    assert "hunter2" not in listing.text() + listing.text("json")


def test_the_version_comes_after_the_columns_of_docker():
    secrets = listings.payloads(Secret, [Secret(id="s", version=3)], NOW)
    assert secrets.headers == ("ID", "NAME", "DRIVER", "CREATED", "UPDATED", "VERSION")
    assert json.loads(secrets.text("json"))["Driver"] == ""
    configs = listings.payloads(Config, [Config(id="c", version=3)], NOW)
    assert configs.headers == ("ID", "NAME", "CREATED", "UPDATED", "VERSION")
    assert [listing.rows[0].cells[-1] for listing in (secrets, configs)] == ["3", "3"]


def test_stacks_are_counted_from_the_labels_of_services():
    def of(stack):
        return Service(spec=ServiceSpec(labels={NAMESPACE_LABEL: stack} if stack else {}))

    listing = listings.stacks([of("shop"), of("blog"), of("shop"), of("")])
    assert [row.cells for row in listing.rows] == [("blog", "1"), ("shop", "2")]
