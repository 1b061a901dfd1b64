from manager.allocator.ports import DYNAMIC, assign
from pyswarm.model import PortConfig, Protocol, PublishMode


def port(target, published=0, protocol=Protocol.TCP, mode=PublishMode.INGRESS):
    return PortConfig(
        target_port=target, published_port=published, protocol=protocol, publish_mode=mode
    )


def numbers(result):
    return [p.published_port for p in result]


def test_ports_that_nobody_chose_come_from_the_dynamic_range():
    owners = {(Protocol.TCP, 30000): "other"}
    assert numbers(assign((port(80), port(81)), (), owners, "me")) == [30001, 30002]


def test_a_chosen_port_stays_over_an_update():
    given = assign((port(80),), (), {}, "me")
    owners = {(Protocol.TCP, 30000): "me"}
    assert numbers(assign((port(443), port(80)), given, owners, "me")) == [30001, 30000]


def test_a_chosen_port_gives_way_to_one_that_was_asked_for():
    given = assign((port(80),), (), {}, "me")
    owners = {(Protocol.TCP, 30000): "me"}
    assert numbers(assign((port(80), port(81, 30000)), given, owners, "me")) == [30001, 30000]


def test_a_port_of_another_service_is_named():
    owners = {(Protocol.UDP, 53): "other"}
    assert assign((port(53, 53),), (), owners, "me")[0].published_port == 53
    result = assign((port(53, 53, Protocol.UDP),), (), owners, "me")
    assert result == "port 53/udp is in use by service other"


def test_ports_in_host_mode_are_left_alone():
    owners = {(Protocol.TCP, 80): "other"}
    wanted = (port(80, 80, mode=PublishMode.HOST),)
    assert assign(wanted, (), owners, "me") == wanted


def test_an_empty_range_is_told():
    owners = {(Protocol.TCP, number): "other" for number in DYNAMIC}
    assert "no port from 30000 to 32767" in assign((port(80),), (), owners, "me")
