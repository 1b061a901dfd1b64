"""Strangers are counted, each and all together."""

import pytest

from pyswarm.rpc.limits import ADDRESSES_MOST, Rate, RateLimit, address_of


def test_a_burst_passes_and_then_one_at_a_time():
    limit = RateLimit(each=Rate(2, 0.5), total=Rate(100, 100))
    assert [limit.admit("a", 0.0) for _ in range(3)] == [True, True, False]
    assert not limit.admit("a", 1.0)
    assert limit.admit("a", 2.0)
    assert limit.admit("b", 2.0)


def test_many_addresses_share_one_bucket():
    limit = RateLimit(each=Rate(1, 1), total=Rate(3, 1))
    assert [limit.admit(f"h{i}", 0.0) for i in range(5)] == [True, True, True, False, False]
    assert limit.admit("h9", 1.0)


def test_the_table_of_addresses_is_bounded():
    limit = RateLimit(total=Rate(1e9, 1))
    for number in range(ADDRESSES_MOST + 100):
        limit.admit(str(number), 0.0)
    assert len(limit._buckets) == ADDRESSES_MOST


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.1:4711", "10.0.0.1"),
        ("ipv6:%5B2001:db8:1:2:3::4%5D:4711", "2001:db8:1:2::/64"),
        ("ipv6:[fe80::1%25eth0]:4711", "fe80::/64"),
        ("unix:", "unix"),
        ("", ""),
    ],
)
def test_an_ipv6_host_counts_by_its_network(peer, address):
    assert address_of(peer) == address
