import pytest

from agent.hostfiles import etc_hosts, hostname, resolv_conf
from pyswarm.errors import InvalidArgument
from pyswarm.model import ContainerSpec, Task


def test_the_hostname_is_the_users_or_begins_the_tasks_id():
    task = Task(id="abcdefghijklmnopqrstuvwxy")
    assert hostname(ContainerSpec(), task) == "abcdefghijkl"
    assert hostname(ContainerSpec(hostname="db"), task) == "db"


def test_hosts_holds_localhost_extra_hosts_and_the_containers_own_addresses():
    text = etc_hosts("db", ["10.0.1.5"], ["192.168.0.9 printer"])
    assert "127.0.0.1\tlocalhost\n" in text
    assert "192.168.0.9\tprinter\n" in text
    assert text.endswith("10.0.1.5\tdb\n")


def test_a_container_without_a_network_finds_its_own_name():
    assert etc_hosts("db", [], []).endswith("127.0.1.1\tdb\n")


def test_the_only_name_server_is_ours():
    text = resolv_conf(ContainerSpec(dns_nameservers=("9.9.9.9",), dns_search=("lan", "org")))
    assert text == "nameserver 127.0.0.11\nsearch lan org\noptions ndots:0\n"
    assert "ndots:2" in resolv_conf(ContainerSpec(dns_options=("ndots:2",)))


def test_a_line_break_cannot_smuggle_a_line_in():
    with pytest.raises(InvalidArgument):
        etc_hosts("db", [], ["1.2.3.4 a\n6.6.6.6 registry"])
    with pytest.raises(InvalidArgument):
        resolv_conf(ContainerSpec(dns_search=("a\nnameserver 6.6.6.6",)))
