"""What the store says of a network is what agents are told."""

from dataclasses import replace

from manager.dispatcher.endpoints import derive, networks_of_node
from pyswarm.model import (
    Endpoint,
    EndpointState,
    HealthState,
    Network,
    NetworkAttachment,
    NetworkAttachmentConfig,
    NetworkSpec,
    Node,
    NodeState,
    NodeStatus,
    PortConfig,
    ResolutionMode,
    Service,
    ServiceSpec,
    Task,
    TaskHealth,
    TaskSpec,
    TaskState,
    TaskStatus,
    VirtualIP,
)

NET = Network(
    id="net",
    spec=NetworkSpec(name="front", driver_options={"com.docker.network.driver.mtu": "1300"}),
    subnet="10.0.1.0/24",
    gateway="10.0.1.1/24",
    vni=4097,
)
INGRESS = Network(
    id="ing", spec=NetworkSpec(name="ingress", ingress=True), subnet="10.0.0.0/24", vni=4096
)
WEB = Service(
    id="web",
    spec=ServiceSpec(
        name="shop_web",
        task=TaskSpec(networks=(NetworkAttachmentConfig(target="net", aliases=("web",)),)),
    ),
    endpoint=Endpoint(
        ports=(PortConfig(target_port=80, published_port=8080),),
        virtual_ips=(
            VirtualIP(network_id="net", address="10.0.1.2/24"),
            VirtualIP(network_id="ing", address="10.0.0.2/24"),
        ),
    ),
)
NODES = [
    Node(id="n1", index=1, status=NodeStatus(state=NodeState.READY, address="192.0.2.1")),
    Node(id="n2", index=2, status=NodeStatus(state=NodeState.READY, address="192.0.2.2")),
    Node(id="n3", index=3, status=NodeStatus(state=NodeState.DOWN, address="192.0.2.3")),
]


def task(state=TaskState.RUNNING, desired=TaskState.RUNNING, node="n1"):
    return Task(
        id="t",
        service_id="web",
        node_id=node,
        slot=1,
        status=TaskStatus(state=state),
        desired_state=desired,
        networks=(NetworkAttachment(network_id="net", address="10.0.1.3/24"),),
    )


def only(endpoints, network="net"):
    return derive([NET, INGRESS], endpoints, [WEB], NODES, version=7)[network]


def test_a_running_task_is_ready():
    [endpoint] = only([task()]).tasks
    assert (endpoint.address, endpoint.ready, endpoint.state) == (
        "10.0.1.3",
        True,
        EndpointState.UP,
    )


def test_a_task_that_starts_has_a_route_and_takes_no_connections():
    [endpoint] = only([task(state=TaskState.STARTING)]).tasks
    assert not endpoint.ready


def test_a_task_that_shall_stop_is_draining():
    [endpoint] = only([task(desired=TaskState.SHUTDOWN)]).tasks
    assert (endpoint.ready, endpoint.state) == (False, EndpointState.DRAINING)


def test_a_task_that_its_agent_stops_since_it_is_unhealthy_is_draining():
    sick = TaskHealth(state=HealthState.UNHEALTHY)
    running = task()
    [endpoint] = only([replace(running, status=replace(running.status, health=sick))]).tasks
    assert (endpoint.ready, endpoint.state) == (False, EndpointState.DRAINING)


def test_a_task_that_ended_is_gone():
    assert only([task(state=TaskState.FAILED)]).tasks == ()


def test_a_task_without_a_node_is_nowhere():
    assert only([task(state=TaskState.PENDING, node="")]).tasks == ()


def test_a_service_keeps_its_virtual_address_without_tasks():
    [service] = only([]).services
    assert (service.virtual_ip, service.aliases, service.mode) == (
        "10.0.1.2",
        ("web",),
        ResolutionMode.VIP,
    )
    assert service.ports == ()


def test_ingress_carries_the_ports_and_every_node_that_is_up():
    ingress = only([], "ing")
    assert [p.published_port for p in ingress.services[0].ports] == [8080]
    assert [n.node_id for n in ingress.nodes] == ["n1", "n2"]


def test_other_networks_name_only_nodes_with_tasks():
    assert [n.node_id for n in only([task()]).nodes] == ["n1"]


def test_the_mtu_of_the_driver_option_is_carried():
    assert only([]).mtu_bytes == 1300


def test_a_node_knows_its_tasks_networks_and_ingress():
    assert networks_of_node([task()], [INGRESS]) == {"net", "ing"}
    assert networks_of_node([task(state=TaskState.SHUTDOWN)], [INGRESS]) == {"ing"}


def test_a_task_of_a_node_that_is_down_gets_no_new_connections_though_it_is_wanted():
    [made] = derive([NET], [task(node="n3")], [WEB], NODES, 5)["net"].tasks
    assert (made.ready, made.state) == (False, EndpointState.DRAINING)
