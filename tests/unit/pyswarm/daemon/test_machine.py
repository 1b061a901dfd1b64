"""Where a machine is reached, today and after it has moved."""

import asyncio

import pytest

from pyswarm.daemon import machine
from pyswarm.errors import FailedPrecondition


@pytest.fixture
def here(monkeypatch):
    """A machine with these addresses, of which the first is that of the default route."""

    def has(*addresses, **interfaces):
        def own_address(wanted):
            if not (wanted or addresses):
                raise FailedPrecondition("could not find the system's IP address")
            return interfaces.get(wanted, wanted) if wanted else addresses[0]

        monkeypatch.setattr(machine, "own_addresses", lambda: frozenset(addresses))
        monkeypatch.setattr(machine, "own_address", own_address)

    return has


def readvertised(address, wanted=""):
    return asyncio.run(machine.readvertised(address, wanted))


def test_a_node_stays_where_it_was_for_as_long_as_the_machine_has_the_address(here):
    here("10.0.0.9", "10.0.0.1")
    assert readvertised("10.0.0.1:2377") == "10.0.0.1:2377"


def test_a_node_whose_address_has_gone_moves_to_that_of_the_default_route(here):
    here("10.0.0.9")
    assert readvertised("10.0.0.1:2400") == "10.0.0.9:2400"


def test_a_node_follows_its_interface_and_what_the_daemon_was_told(here):
    here("10.0.0.1", "10.0.0.9", eth1="10.0.0.9")
    assert readvertised("10.0.0.1:2377", "eth1") == "10.0.0.9:2377"
    assert readvertised("10.0.0.1:2377", "eth1:2400") == "10.0.0.9:2400"
    assert readvertised("10.0.0.1:2377", "10.0.0.7") == "10.0.0.7:2377"


def test_a_machine_without_an_address_yet_keeps_the_one_it_had(here):
    here()
    assert readvertised("10.0.0.1:2377") == "10.0.0.1:2377"


def test_an_interface_is_remembered_and_an_address_is_not():
    words = ("", "10.0.0.1", "10.0.0.1:2377", "eth1", "eth1:2400")
    assert [machine.interface_of(word) for word in words] == ["", "", "", "eth1", "eth1:2400"]
