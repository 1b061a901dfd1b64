"""Names and addresses of a lab."""

import pytest

from pyswarm.errors import InvalidArgument, NotFound
from pyswarm.lab.layout import Layout, parse_publish, plan


def planned(**changes: int) -> Layout:
    numbers = {"managers": 2, "workers": 1, **changes}
    return plan("t", daemon=True, publish=(), **numbers)


def test_managers_come_first_and_every_host_has_its_own_address() -> None:
    found = [(host.name, host.address, host.manager) for host in planned().hosts]
    assert found == [
        ("m1", "10.66.1.1", True),
        ("m2", "10.66.1.2", True),
        ("w1", "10.66.2.1", False),
    ]


def test_the_hardware_address_follows_from_the_address() -> None:
    assert planned().host("w1").mac == "02:66:0a:42:02:01"


def test_an_unknown_host_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match=r"no host 'm9'; its hosts are m1, m2, w1"):
        planned().host("m9")


@pytest.mark.parametrize(("managers", "workers"), [(0, 1), (1, -1), (40, 11)])
def test_a_number_of_hosts_that_cannot_be_is_refused(managers: int, workers: int) -> None:
    with pytest.raises(InvalidArgument):
        planned(managers=managers, workers=workers)


@pytest.mark.parametrize("text", ["80", "80:", ":80", "0:80", "80:65536", "1:2:3", "a:b"])
def test_a_published_port_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="PORT:PORT"):
        parse_publish(text)


def test_a_published_port_is_outer_then_inner() -> None:
    assert parse_publish("8080:80") == (8080, 80)
