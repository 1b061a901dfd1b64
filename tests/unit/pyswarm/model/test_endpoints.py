"""An endpoint set and its deltas."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pyswarm.model import EndpointSet, NodeEndpoint, ServiceEndpoint, TaskEndpoint
from pyswarm.model.endpoints import apply, delta, same_head

tasks = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(TaskEndpoint, address=st.sampled_from(["10.0.0.2", "10.0.0.3"]), ready=st.booleans()),
)


def endpoint_set(version, of_tasks):
    return EndpointSet(
        network_id="n",
        version=version,
        services=tuple(
            ServiceEndpoint(service_id=key, name=key) for key in sorted(of_tasks) if key < "d"
        ),
        tasks=tuple(
            TaskEndpoint(task_id=key, address=of_tasks[key].address, ready=of_tasks[key].ready)
            for key in sorted(of_tasks)
        ),
        nodes=tuple(NodeEndpoint(node_id=key) for key in sorted(of_tasks) if key > "b"),
    )


@given(tasks, tasks)
def test_a_set_and_a_delta_give_the_next_set(old, new):
    before, after = endpoint_set(1, old), endpoint_set(2, new)
    assert apply(before, delta(before, after)) == after


@given(tasks, tasks)
def test_the_head_of_a_set_is_what_no_delta_carries(old, new):
    before, after = endpoint_set(1, old), endpoint_set(2, new)
    assert same_head(before, after)
    assert not same_head(before, replace(after, subnet="10.1.0.0/24"))
