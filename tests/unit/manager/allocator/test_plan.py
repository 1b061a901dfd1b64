from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from manager.allocator.plan import (
    Cursors,
    allocate_network,
    allocate_node,
    allocate_service,
    allocate_task,
)
from pyswarm.model import (
    Cluster,
    EndpointSpec,
    Network,
    NetworkAttachmentConfig,
    NetworkSpec,
    Node,
    PortConfig,
    ResolutionMode,
    Service,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
)
from pyswarm.testing.world import World


def spec(name, *networks, replicas=2, ports=(), mode=ResolutionMode.VIP):
    attachments = tuple(NetworkAttachmentConfig(target=n, aliases=(name + "-x",)) for n in networks)
    return ServiceSpec(
        name=name,
        replicas=replicas,
        task=TaskSpec(networks=attachments),
        endpoint=EndpointSpec(ports=ports, mode=mode),
    )


def world(*subnets):
    w = World(2)
    for number, subnet in enumerate(subnets):
        network = Network(id=f"id-{number}", spec=NetworkSpec(name=f"net{number}", subnet=subnet))
        w.write(lambda tx, n=network: tx.put(n))
    return w


def test_networks_get_the_next_subnet_its_first_address_and_a_number():
    w = world("", "10.0.2.0/24", "")
    w.settle()
    found = {n.spec.name: (n.subnet, n.gateway, n.vni) for n in w.view.list(Network)}
    assert found["ingress"][0] != found["net0"][0]
    assert found["net1"] == ("10.0.2.0/24", "10.0.2.1", found["net1"][2])
    assert len({vni for _, _, vni in found.values()}) == 4
    assert min(vni for _, _, vni in found.values()) == 4097


def test_a_subnet_that_overlaps_is_refused_in_words():
    w = world("10.5.0.0/16")
    w.settle()
    late = Network(id="late", spec=NetworkSpec(name="late", subnet="10.5.9.0/24"))
    w.write(lambda tx: tx.put(late))
    problems = []
    w.write(lambda tx: problems.append(allocate_network(tx, "late")))
    assert problems == [
        "subnet 10.5.9.0/24 of network late overlaps 10.5.0.0/16 of another network"
    ]


def test_a_service_has_an_address_in_each_network_and_in_ingress_for_its_ports():
    w = world("", "")
    s = w.create(spec("web", "net0", "id-1", ports=(PortConfig(target_port=80),)))
    w.settle()
    endpoint = w.service(s).endpoint
    assert {v.network_id for v in endpoint.virtual_ips} == {"id-0", "id-1", "ingress-id"}
    assert endpoint.ports[0].published_port == 30000
    [first, _] = w.running(s)
    assert [a.network_id for a in first.networks] == ["id-0", "id-1", "ingress-id"]
    assert first.networks[0].aliases == ("web-x",)


def test_without_a_virtual_address_tasks_have_theirs():
    w = world("")
    s = w.create(spec("web", "net0", mode=ResolutionMode.DNSRR))
    w.settle()
    assert w.service(s).endpoint.virtual_ips == ()
    assert all(t.networks for t in w.running(s))


def test_an_update_takes_back_what_is_no_longer_asked_for():
    w = world("", "")
    s = w.create(spec("web", "net0", ports=(PortConfig(target_port=80),)))
    w.settle()
    vip = w.service(s).endpoint.virtual_ips[0]
    w.change(s, spec("web", "net0", "net1"))
    w.settle()
    endpoint = w.service(s).endpoint
    assert endpoint.ports == ()
    assert endpoint.virtual_ips[0] == vip
    assert [v.network_id for v in endpoint.virtual_ips] == ["id-0", "id-1"]


def test_a_task_whose_network_is_unknown_says_so_and_goes_on_when_it_comes():
    w = world()
    s = w.create(spec("web", "later"))
    w.settle()
    [task, _] = w.view.tasks_of_service(s)
    assert (task.status.state, task.status.error) == (TaskState.NEW, "network later not found")
    w.write(lambda tx: tx.put(Network(id="l", spec=NetworkSpec(name="later"))))
    w.settle()
    assert len(w.running(s)) == 2


def test_a_full_network_is_told_in_words():
    w = world("10.9.0.0/29")
    s = w.create(spec("web", "net0", replicas=9))
    w.settle()
    assert len(w.running(s)) == 4
    errors = {t.status.error for t in w.view.tasks_in_state(TaskState.NEW)}
    assert errors == {"network net0 has no free address left in 10.9.0.0/29"}
    w.change(s, spec("web", "net0", replicas=2))
    w.settle()
    assert len(w.view.addresses["id-0"]) == 3


def test_a_removed_service_keeps_its_address_until_its_tasks_have_ended():
    w = world("")
    s = w.create(spec("web", "net0"))
    w.settle()
    w.silent |= {"node-1"}
    w.remove(s)
    w.run(5)
    assert w.service(s).endpoint.virtual_ips
    w.silent.clear()
    w.settle()
    assert w.view.count(Service) == w.view.count(Task) == 0
    assert "id-0" not in w.view.addresses


def test_nodes_take_the_smallest_number_that_is_free():
    w = World(3)
    w.settle()
    w.write(lambda tx: tx.delete(Node, "node-2"))
    w.add_node("node-9", {})
    w.settle()
    assert {n.id: n.index for n in w.view.list(Node)} == {"node-1": 1, "node-3": 3, "node-9": 2}


def test_each_step_done_twice_changes_nothing():
    w = world("")
    s = w.create(spec("web", "net0"))
    w.settle()
    before, cursors = w.view, Cursors()
    for node in w.view.list(Node):
        w.write(lambda tx, n=node: allocate_node(tx, n.id))
    w.write(lambda tx: allocate_network(tx, "id-0"))
    w.write(lambda tx: allocate_service(tx, s, cursors))
    for task in w.view.list(Task):
        w.write(lambda tx, t=task: allocate_task(tx, t.id, cursors))
    assert w.view is before


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["add", "end", "leader"]), st.integers(0, 30)), max_size=60)
)
def test_no_address_is_given_twice_whatever_ends_and_whoever_leads(steps):
    w = World(0)
    w.write(lambda tx: tx.put(replace(w.view.cluster, subnet_bits=28)))
    w.write(lambda tx: tx.put(Network(id="n", spec=NetworkSpec(name="n"))))
    w.write(lambda tx: allocate_network(tx, "n"))
    service = Service(id="s", spec=spec("web", "n"), spec_version=1)
    w.write(lambda tx: tx.put(service))
    cursors, count = Cursors(), 0
    for action, number in steps:
        if action == "leader":
            cursors = Cursors()
        elif action == "add":
            count += 1
            task = Task(id=f"t{count:03}", service_id="s", slot=count, spec=service.spec.task)
            w.write(lambda tx, t=task: tx.put(t))
            w.write(lambda tx, t=task, c=cursors: allocate_task(tx, t.id, c))
        elif w.view.get(Task, f"t{number:03}") is not None:
            task = w.view.require(Task, f"t{number:03}")
            ended = replace(task, status=TaskStatus(state=TaskState.FAILED))
            w.write(lambda tx, t=ended: tx.put(t))
        w.check()
    subnet = w.view.require(Network, "n").subnet
    assert subnet.endswith("/28")
    alive = [t for t in w.view.list(Task) if t.status.state == TaskState.PENDING]
    assert len(alive) + 1 == len(w.view.addresses.get("n", ())) or not alive
    assert w.view.count(Cluster) == 1
