import struct

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from overlay import messages
from overlay.messages import End


def decoded(kind, message):
    """The message as pyroute2, an independent decoder, reads it."""
    data = struct.pack("=IHHII", 16 + len(message.body), message.kind, 0, 1, 0) + message.body
    found = kind(data)
    found.decode()
    return found


def test_a_veth_pair_is_read_as_it_was_meant():
    pair = messages.veth(
        End(name="near", mac="ee:ee:ee:ee:ee:ee"),
        End(name="eth0", mac="02:42:0a:00:00:03"),
        namespace=7,
        mtu=1450,
    )
    near = decoded(ifinfmsg, pair)
    assert near["flags"] & 1
    assert near.get_attr("IFLA_IFNAME") == "near"
    info = near.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "veth"
    far = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert not far["flags"] & 1, "the kernel refuses a far end that is made up"
    assert far.get_attr("IFLA_IFNAME") == "eth0"
    assert far.get_attr("IFLA_NET_NS_FD") == 7


def test_a_vxlan_does_not_learn():
    device = messages.vxlan(
        name="vx0",
        index=1000,
        namespace=7,
        mac="02:76:00:00:00:01",
        mtu=1450,
        vni=4097,
        local="192.168.0.1",
        port=4789,
    )
    found = decoded(ifinfmsg, device).get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")
    assert found.get_attr("IFLA_VXLAN_ID") == 4097
    assert found.get_attr("IFLA_VXLAN_LEARNING") == 0
    assert found.get_attr("IFLA_VXLAN_PORT") == 4789
    assert found.get_attr("IFLA_VXLAN_LOCAL") == "192.168.0.1"


def test_a_route_is_read_back_as_it_was_written():
    message = messages.route("10.0.1.5/32", 1000, via="169.254.64.2", source="10.0.1.9")
    found = decoded(rtmsg, message)
    assert found.get_attr("RTA_PREFSRC") == "10.0.1.9"
    assert messages.parse_route(message.body) == ("10.0.1.5/32", 254, 1000, "169.254.64.2")
    assert messages.parse_route(messages.unreachable("10.0.1.0/24").body)[2] == 0


def test_neighbours_and_forwarding_entries_are_read_back():
    neighbour = messages.neighbour(5, "169.254.64.2", "02:76:00:00:00:02")
    assert decoded(ndmsg, neighbour)["state"] == 0x80
    assert messages.parse_neighbour(neighbour.body) == (5, "169.254.64.2", "02:76:00:00:00:02")
    entry = messages.forwarding(5, "02:76:00:00:00:02", "192.168.0.2")
    assert decoded(ndmsg, entry)["state"] == 0x80 | 0x40
    assert messages.parse_neighbour(entry.body) == (5, "192.168.0.2", "02:76:00:00:00:02")


def test_broken_attributes_end_the_reading():
    assert list(messages.attributes(b"\0\0\1\0" + b"rest")) == []
    whole = messages.attribute(3, b"abc")
    assert list(messages.attributes(whole + b"\1")) == [(3, b"abc")]
