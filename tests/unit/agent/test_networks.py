from dataclasses import replace

from agent.networks import NetworkNews, Networks
from pyswarm.model import EndpointSet, TaskEndpoint
from pyswarm.model.endpoints import delta

OLD = EndpointSet(network_id="n", version=5)
NEW = replace(OLD, version=6, tasks=(TaskEndpoint(task_id="t", address="10.0.0.2"),))


def test_a_delta_changes_the_set_that_it_names():
    networks = Networks({"n": OLD})
    assert networks.apply(NetworkNews(deltas=(delta(OLD, NEW),)))
    assert networks.sets == {"n": NEW}


def test_a_delta_for_another_version_is_refused():
    networks = Networks({"n": replace(OLD, version=4)})
    assert not networks.apply(NetworkNews(deltas=(delta(OLD, NEW),)))
    assert networks.sets["n"].version == 4


def test_a_set_that_a_new_session_does_not_name_is_dropped_when_it_settles():
    networks = Networks({"n": OLD, "gone": EndpointSet(network_id="gone", version=1)})
    networks.begin_session()
    networks.apply(NetworkNews(complete=(NEW,)))
    assert sorted(networks.sets) == ["gone", "n"]
    assert networks.settle() == ("gone",)
    assert networks.in_order() == (NEW,)
