from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager.state.changes import Chain, encode_set
from manager.state.snapshot import TaskRows, decode_snapshot, encode_again, encode_snapshot
from manager.state.store import Transaction, commit, conclude, rehearse
from manager.state.tables import View
from pyswarm.errors import AlreadyExists, NotFound, SequenceConflict, SwarmError
from pyswarm.model import (
    Config,
    Endpoint,
    GenericResource,
    Network,
    NetworkAttachment,
    NetworkSpec,
    Node,
    NodeDescription,
    PayloadSpec,
    PortConfig,
    Service,
    ServiceSpec,
    Task,
    TaskState,
    TaskStatus,
    VirtualIP,
)


def service(name, key="", **fields):
    return Service(id=key or f"id-{name}", spec=ServiceSpec(name=name), **fields)


def written(view, index, *steps):
    """The view after a transaction, by way of the bytes of the log."""
    tx = Transaction(view, 100.0 + index)
    for step in steps:
        step(tx)
    data = encode_set(Chain(1, 1, view.version), tx.encoded()[0])
    done = commit(view, index, data)
    assert done is not None
    return done[0]


def put(record):
    return lambda tx: tx.put(record)


def test_a_transaction_reads_its_own_writes():
    tx = Transaction(View(), 5.0)
    tx.put(service("web"))
    assert tx.get(Service, "id-web").spec.name == "web"
    tx.delete(Service, "id-web")
    assert tx.get(Service, "id-web") is None


def test_a_record_has_the_version_of_its_entry_and_the_times_of_its_proposer():
    view = written(View(), 7, put(service("web")))
    view = written(view, 9, put(replace(view.require(Service, "id-web"), spec_version=2)))
    meta = view.require(Service, "id-web").meta
    assert (meta.version, meta.created_at, meta.updated_at) == (9, 107.0, 109.0)


def test_an_update_from_a_stale_version_is_refused():
    view = written(View(), 7, put(service("web")))
    view = written(view, 8, put(service("web", spec_version=1)))
    tx = Transaction(view, 0.0)
    with pytest.raises(SequenceConflict, match="service web was changed"):
        tx.update(Service, "id-web", 7, service("web"))
    tx.update(Service, "id-web", 8, service("web"))
    with pytest.raises(SequenceConflict):
        tx.update(Service, "id-web", 8, service("web"))


@pytest.mark.parametrize("name", ["web", "WEB"])
def test_a_name_belongs_to_one_service(name):
    tx = Transaction(View(), 0.0)
    tx.put(service("web"))
    with pytest.raises(AlreadyExists, match="already exists"):
        tx.put(service(name, "another"))


def test_a_name_is_free_again_after_its_owner_is_gone():
    view = written(View(), 1, put(service("web")))
    view = written(view, 2, lambda tx: tx.delete(Service, "id-web"), put(service("web", "another")))
    assert view.by_name(Service, "web").id == "another"


def test_an_address_has_one_owner_until_the_task_has_ended():
    attachment = NetworkAttachment(network_id="net", address="10.0.0.2/24")
    first = Task(id="one", networks=(attachment,))
    view = written(View(), 1, put(first))
    with pytest.raises(AlreadyExists, match=r"10\.0\.0\.2/24"):
        Transaction(view, 0.0).put(Task(id="two", networks=(attachment,)))
    vip = Endpoint(virtual_ips=(VirtualIP(network_id="net", address="10.0.0.2/24"),))
    with pytest.raises(AlreadyExists):
        Transaction(view, 0.0).put(service("web", endpoint=vip))
    ended = replace(first, status=TaskStatus(state=TaskState.FAILED))
    view = written(view, 2, put(ended), put(Task(id="two", networks=(attachment,))))
    assert list(view.addresses["net"].values()) == ["two"]
    assert view.require(Task, "one").networks == (attachment,)


def test_a_published_port_has_one_owner():
    ports = Endpoint(ports=(PortConfig(target_port=80, published_port=8080),))
    view = written(View(), 1, put(service("web", endpoint=ports)))
    with pytest.raises(AlreadyExists, match="port 8080/tcp"):
        Transaction(view, 0.0).put(service("api", endpoint=ports))
    view = written(view, 2, put(service("web")), put(service("api", endpoint=ports)))
    assert list(view.ports.values()) == ["id-api"]


def test_an_entry_that_does_not_follow_changes_nothing():
    view = written(View(), 3, put(service("web")))
    late = encode_set(Chain(1, 1, 2), [])
    assert commit(view, 4, late) is None
    unchained = encode_set(Chain(1, 3, 3), [])
    assert commit(view, 4, unchained) is None


def test_a_commit_tells_each_record_once_with_its_first_and_last_state():
    view = written(View(), 1, put(service("web")))
    tx = Transaction(view, 0.0)
    tx.put(service("web", spec_version=1))
    tx.put(service("web", spec_version=2))
    tx.put(service("brief"))
    tx.delete(Service, "id-brief")
    _, news = commit(view, 2, encode_set(Chain(1, 1, 1), tx.encoded()[0]))
    [change] = news.changes
    assert (change.kind, change.id) == (Service, "id-web")
    assert (change.old.spec_version, change.new.spec_version) == (0, 2)


def test_a_reference_is_an_id_then_a_name_then_a_unique_start_of_an_id():
    view = written(
        View(), 1, put(service("b", "abc")), put(service("abd", "xyz")), put(service("c", "abd"))
    )
    assert view.resolve(Service, "abd").spec.name == "c"
    assert view.resolve(Service, "b").id == "abc"
    assert view.resolve(Service, "xy").id == "xyz"
    with pytest.raises(SwarmError, match="service ab is ambiguous"):
        view.resolve(Service, "ab")
    with pytest.raises(NotFound, match="service q not found"):
        view.resolve(Service, "q")
    with pytest.raises(NotFound):
        view.resolve(Service, "")


def test_two_nodes_of_one_host_name_are_ambiguous():
    twin = NodeDescription(hostname="host")
    view = written(
        View(), 1, put(Node(id="n1", description=twin)), put(Node(id="n2", description=twin))
    )
    with pytest.raises(SwarmError, match="node host is ambiguous"):
        view.resolve(Node, "host")
    assert view.resolve(Node, "n2").id == "n2"


def test_a_task_answers_to_service_and_slot():
    view = written(View(), 1, put(Task(id="t1", service_name="web", slot=2)))
    assert view.resolve(Task, "web.2").id == "t1"
    assert view.resolve(Task, "web.2.t1").id == "t1"


_KEYS = st.sampled_from([f"k{i}" for i in range(6)])
_STATES = st.sampled_from([TaskState.NEW, TaskState.PENDING, TaskState.RUNNING, TaskState.FAILED])
_RECORDS = st.one_of(
    st.builds(
        lambda key, name: Service(id=key, spec=ServiceSpec(name=name)),
        _KEYS,
        st.sampled_from("abcdefgh"),
    ),
    st.builds(
        lambda key, service_id, node, state, number, gpu: Task(
            id=key,
            service_id=service_id,
            node_id=node,
            status=TaskStatus(state=state),
            networks=(NetworkAttachment(network_id="n", address=f"10.0.0.{number}/24"),)
            if number
            else (),
            generic_resources=(GenericResource(kind="GPU", value=gpu),) if gpu else (),
        ),
        _KEYS,
        _KEYS,
        st.sampled_from(["", "n1", "n2"]),
        _STATES,
        st.sampled_from([0, 0, 0, 2, 3, 4, 5]),
        st.sampled_from(["", "a", "b"]),
    ),
    st.builds(lambda key: Config(id=key, spec=PayloadSpec(name=key, data=b"x")), _KEYS),
    st.builds(lambda key: Network(id=key, spec=NetworkSpec(name=key)), _KEYS),
)
_STEPS = st.lists(
    st.one_of(
        _RECORDS.map(lambda record: ("put", record)),
        st.tuples(st.just("delete"), st.sampled_from([Service, Task, Config, Network]), _KEYS),
        st.dictionaries(_KEYS, st.sampled_from(["n1", "n2"]), max_size=4).map(
            lambda nodes: ("assign", nodes)
        ),
        st.just(("look",)),
    ),
    max_size=8,
)
_ASSIGNED = TaskStatus(state=TaskState.ASSIGNED, timestamp=7.0, message="assigned")


def _model_step(model, tx, step):
    """Do a step on both; a refusal must leave the transaction as it was. Only a look at the view
    makes a transaction apply what it has put off."""
    try:
        if step[0] == "put":
            tx.put(step[1])
            model[type(step[1]), step[1].id] = step[1]
        elif step[0] == "delete":
            tx.delete(step[1], step[2])
            del model[step[1], step[2]]
        elif step[0] == "assign":
            for key in tx.assign(_ASSIGNED, step[1]):
                old = model[Task, key]
                assert old.status.state == TaskState.PENDING
                model[Task, key] = replace(old, node_id=step[1][key], status=_ASSIGNED)
        else:
            assert {t.id for t in tx.view.list(Task)} == {k for kind, k in model if kind is Task}
    except SwarmError:
        assert len(tx.changes) == len(tx.befores), "a refused change is none"


def _bare(record):
    return replace(record, meta=Service().meta)


def _check_indexes(view):
    tasks = view.list(Task)
    for key in {t.service_id for t in tasks} | {"k0"}:
        assert view.tasks_of_service(key) == [t for t in tasks if t.service_id == key]
    for key in ("n1", "n2"):
        assert view.tasks_of_node(key) == [t for t in tasks if t.node_id == key]
    for state in (TaskState.NEW, TaskState.PENDING):
        assert view.tasks_in_state(state) == [t for t in tasks if t.status.state == state]
    for record in view.list(Service):
        assert view.by_name(Service, record.spec.name) == record
    living = [t for t in tasks if t.status.state <= TaskState.RUNNING]
    held = [each.address for t in living for each in t.networks]
    assert len(held) == len(set(held))


def _plain(value):
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return dict.fromkeys(value) if isinstance(value, tuple) else value


@settings(max_examples=150, deadline=None)
@given(st.lists(_STEPS, max_size=6))
def test_any_history_gives_the_state_of_a_plain_dict_on_leader_follower_and_after_a_snapshot(sets):
    model = {}
    leader = follower = View()
    rows = TaskRows()  # kept from one snapshot to the next, and that must not show
    for index, steps in enumerate(sets, 1):
        tx = Transaction(leader, float(index))
        for step in steps:
            _model_step(model, tx, step)
        chain = Chain(5, 1, leader.version)
        data = encode_set(chain, tx.encoded()[0])
        after, changes = rehearse(tx, data)
        leader, _ = conclude(leader, after, index, chain, changes)
        follower, _ = commit(follower, index, data)
        assert encode_again(leader, rows) == encode_snapshot(leader) == encode_snapshot(follower)
    found = {(kind, r.id): _bare(r) for kind in leader.tables for r in leader.list(kind)}
    assert found == {key: _bare(record) for key, record in model.items()}
    for view in (leader, follower, decode_snapshot(encode_snapshot(leader))):
        _check_indexes(view)
    restored = decode_snapshot(encode_snapshot(leader))
    # Built at once, the tables and indexes are the same.
    for part in (*View.__slots__, "service_tasks"):
        assert _plain(getattr(restored, part)) == _plain(getattr(leader, part)), part
    assert encode_snapshot(restored) == encode_snapshot(leader)
