"""The host's own firewall stands before ours."""

import importlib.util
import shutil
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("lab", Path(__file__).with_name("conftest.py"))
lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab)
apply_all, tcp = lab.apply_all, lab.tcp

pytestmark = pytest.mark.netns


@pytest.mark.skipif(shutil.which("iptables") is None, reason="needs the command iptables")
def test_the_firewall_of_the_host_is_opened_for_containers_and_closed_again(hosts):
    node = hosts.all[0]
    node.sh("iptables -P FORWARD DROP")
    hosts.start(1)
    hosts.client.serve("outside", 8000)
    bare = hosts.attach(node, "bare", host_ports=[tcp(9000, 80)])
    bare.serve("bare")
    assert bare.ask(lab.OUTSIDE, 8000)[0] == "outside"
    assert hosts.client.ask(node.address, 9000)[0] == "bare"
    node.call("destroy")
    assert "psw" not in node.sh("iptables -S FORWARD")


def test_a_firewall_that_we_cannot_open_is_reported(hosts):
    node = hosts.all[0]
    node.sh(
        "nft 'add table inet mine; add chain inet mine transit"
        " { type filter hook forward priority 0; policy drop; }'"
    )
    hosts.start(1)
    (result,) = apply_all([node])
    assert "the firewall chain inet mine transit drops forwarded packets" in result.problems[0]
