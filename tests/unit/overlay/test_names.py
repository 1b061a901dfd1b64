import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.names import (
    HOST_DEVICE_PREFIX,
    NODE_INDEX_MAX,
    container_mac,
    host_device,
    link_address,
    veth_name,
    vtep_mac,
)
from pyswarm.errors import FailedPrecondition


def test_link_addresses_go_on_beyond_254_nodes():
    assert link_address(1) == "169.254.64.1"
    assert link_address(255) == "169.254.64.255"
    assert link_address(256) == "169.254.65.0"
    assert link_address(NODE_INDEX_MAX) == "169.254.127.255"


@pytest.mark.parametrize("index", [0, -1, NODE_INDEX_MAX + 1])
def test_a_node_without_a_usable_number_is_refused_in_words(index):
    with pytest.raises(FailedPrecondition, match="outside 1 to 16383"):
        link_address(index)


@given(st.integers(1, NODE_INDEX_MAX), st.integers(1, NODE_INDEX_MAX))
def test_nodes_share_neither_address_nor_mac(one, other):
    assert (one == other) == (link_address(one) == link_address(other))
    assert (one == other) == (vtep_mac(one) == vtep_mac(other))


@given(st.text(max_size=40), st.text(max_size=40))
def test_device_names_fit_the_kernel(task_id, network_id):
    assert len(veth_name(task_id, network_id)) <= 15
    assert len(host_device(network_id)) <= 15
    assert host_device(network_id).startswith(HOST_DEVICE_PREFIX)


def test_a_container_has_dockers_mac():
    assert container_mac("10.0.1.255") == "02:42:0a:00:01:ff"
