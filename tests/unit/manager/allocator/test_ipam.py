from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from manager.allocator import ipam, vni

NET = IPv4Network("10.0.0.0/28")
GATEWAY = int(IPv4Address("10.0.0.1"))


def test_the_pools_are_cut_from_their_start_and_holes_are_filled():
    used = [IPv4Network("10.0.0.0/24"), IPv4Network("10.0.2.0/24")]
    assert ipam.next_subnet(["10.0.0.0/8"], 24, used) == IPv4Network("10.0.1.0/24")


def test_a_large_subnet_of_a_user_is_jumped_over():
    used = [IPv4Network("10.0.0.0/12")]
    assert ipam.next_subnet(["10.0.0.0/8"], 24, used) == IPv4Network("10.16.0.0/24")


def test_the_second_pool_follows_the_first_and_then_there_is_none():
    pools = ["10.1.0.0/24", "10.2.0.0/24"]
    assert ipam.next_subnet(pools, 24, [IPv4Network(pools[0])]) == IPv4Network(pools[1])
    assert ipam.next_subnet(pools, 24, [IPv4Network(p) for p in pools]) is None


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(16, 30)), max_size=20),
    st.integers(16, 28),
)
def test_a_new_subnet_lies_in_its_pool_and_overlaps_none(blocks, bits):
    used = [IPv4Network(f"10.0.{third}.0/{prefix}", strict=False) for third, prefix in blocks]
    found = ipam.next_subnet(["10.0.0.0/14"], bits, used)
    if found is None:
        assert bits < 18
    else:
        assert found.subnet_of(IPv4Network("10.0.0.0/14"))
        assert ipam.overlapping(found, used) is None


def test_addresses_go_once_around_before_one_comes_back():
    taken, cursor, order = {}, 0, []
    for _ in range(13):
        address = ipam.next_address(NET, GATEWAY, taken, cursor)
        order.append(address)
        cursor = address
    assert len(set(order)) == 13
    assert ipam.next_address(NET, GATEWAY, taken, cursor) == order[0]


@given(st.sets(st.integers(1, 14)), st.integers(0, 20))
def test_an_address_is_a_free_host_or_there_is_none(taken, cursor):
    base = int(NET.network_address)
    held = {base + n for n in taken}
    found = ipam.next_address(NET, GATEWAY, held, base + cursor)
    free = {base + n for n in range(2, 15)} - held
    assert (found in free) if free else (found is None)


def test_a_network_number_goes_up_and_wraps():
    assert vni.next_vni([]) == 4097
    assert vni.next_vni([4097, 4099]) == 4100
    assert vni.next_vni([vni.LAST, 4097]) == 4098
