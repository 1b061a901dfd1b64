"""Short forms and their long forms."""

import pytest

from pyswarm.compose.canonical import canonical
from pyswarm.compose.marked import ComposeError
from pyswarm.compose.parse import parse
from pyswarm.compose.schema import check


def long(text):
    tree, _ = check(parse(f"services:\n  web:\n    image: i\n    {text}\n", "c.yml"))
    tree, warnings = canonical(tree)
    return tree.at("services", "web"), warnings


def ports(text):
    web, _ = long(f"ports: {text}")
    return [
        (
            p.at("published").whole(),
            p.at("target").whole(),
            p.at("protocol").text,
            p.at("mode").text,
        )
        for p in web.at("ports").items
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["80"]', [(0, 80, "tcp", "ingress")]),
        ("[8080:80]", [(8080, 80, "tcp", "ingress")]),
        ("[22:22]", [(22, 22, "tcp", "ingress")]),
        ("[53:53/udp]", [(53, 53, "udp", "ingress")]),
        ("['90-91:80-81']", [(90, 80, "tcp", "ingress"), (91, 81, "tcp", "ingress")]),
        ("['80-81']", [(0, 80, "tcp", "ingress"), (0, 81, "tcp", "ingress")]),
        ("['90-91:80']", [(90, 80, "tcp", "ingress"), (91, 80, "tcp", "ingress")]),
        ("['127.0.0.1:90:80']", [(90, 80, "tcp", "ingress")]),
        ("['127.0.0.1::80']", [(0, 80, "tcp", "ingress")]),
        ("['[::1]:90:80']", [(90, 80, "tcp", "ingress")]),
        (
            "[{target: 80, published: '90-91', protocol: udp, mode: host}]",
            [(90, 80, "udp", "host"), (91, 80, "udp", "host")],
        ),
        ("[{target: 80}]", [(0, 80, "tcp", "ingress")]),
    ],
)
def test_ports_in_all_their_forms(text, expected):
    assert ports(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a:80]", "must be a port such as 8080:80 or 8080:80/udp, not 'a:80'"),
        ("['90-92:80-81']", "'90-92:80-81' maps 3 ports to 2"),
        ("['0:80']", "'0' is not a port or range of ports from 1 to 65535"),
        ("['81-80']", "'81-80' is not a port or range"),
        ("['1-2000']", "at most 1000 ports"),
        ("[{published: 80}]", "target is missing"),
        ("[{target: 80, published: x}]", "must be a port or a range of ports, not 'x'"),
    ],
)
def test_ports_that_cannot_be(text, message):
    with pytest.raises(ComposeError) as caught:
        long(f"ports: {text}")
    assert message in caught.value.message
    assert caught.value.message.startswith("c.yml:4: services.web.ports[0]")


def test_an_address_before_a_port_is_ignored_aloud():
    _, warnings = long("ports: ['127.0.0.1:90:80']")
    assert "the address 127.0.0.1 is ignored" in warnings[0]


def test_volumes_in_short_form():
    web, warnings = long(
        "volumes: [/anonymous, 'data:/d:ro,z', './a:/b', '/x:/y:rshared', '~/h:/h']"
    )
    found = [
        (v.at("type").text, v.at("source").text, v.at("target").text, v.at("read_only").flag)
        for v in web.at("volumes").items
    ]
    assert found == [
        ("volume", "", "/anonymous", False),
        ("volume", "data", "/d", True),
        ("bind", "./a", "/b", False),
        ("bind", "/x", "/y", False),
        ("bind", "~/h", "/h", False),
    ]
    assert web.at("volumes").items[3].at("bind", "propagation").text == "rshared"
    assert warnings == [
        "c.yml:4: services.web.volumes[1]: the option z is ignored: it has no meaning here"
    ]


@pytest.mark.parametrize("text", ["a:b", "a:/b:zz", "a:/b:ro:x", "':/a'", "rel"])
def test_volumes_that_cannot_be(text):
    with pytest.raises(ComposeError, match=r"services\.web\.volumes\[0\]"):
        long(f"volumes: [{text}]")


def test_command_lines_are_split_as_by_a_shell():
    web, _ = long("command: sh -c 'echo \"a b\"'")
    assert web.at("command").texts == ("sh", "-c", 'echo "a b"')
    with pytest.raises(ComposeError, match="cannot be split into words: no closing quotation"):
        long('command: "echo \'"')


def test_lists_of_pairs_become_mappings():
    web, _ = long("environment: ['A=1=2', B, C=]")
    assert {k: v.value for k, v in web.at("environment").entries.items()} == {
        "A": "1=2",
        "B": None,
        "C": "",
    }
    with pytest.raises(ComposeError, match="has no name before the ="):
        long("environment: ['=x']")


def test_extra_hosts_in_all_their_forms():
    for text in ("[db:10.0.0.5]", "[db=10.0.0.5]", "{db: 10.0.0.5}", "{db: [10.0.0.5]}"):
        assert long(f"extra_hosts: {text}")[0].at("extra_hosts").texts == ("db=10.0.0.5",)
    assert long("extra_hosts: ['six:[::1]']")[0].at("extra_hosts").texts == ("six=::1",)
    with pytest.raises(ComposeError, match="a name with an address"):
        long("extra_hosts: [db]")


def test_a_health_check_in_one_text_is_for_the_shell():
    assert long("healthcheck: {test: curl x}")[0].at("healthcheck", "test").texts == (
        "CMD-SHELL",
        "curl x",
    )
    with pytest.raises(ComposeError, match="must begin with CMD, CMD-SHELL or NONE, not 'curl'"):
        long("healthcheck: {test: [curl, x]}")
