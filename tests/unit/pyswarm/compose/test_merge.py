"""Several files as one."""

from pyswarm.compose.document import read


def merged(*texts):
    files = [(f"{i}.yml", f"services:\n  web:\n    image: i\n{t}") for i, t in enumerate(texts)]
    return read(files, {}).tree.at("services", "web")


def test_mappings_merge_by_key_also_where_one_file_writes_a_list():
    web = merged("    environment: [A=1, B=1]", "    environment: {B: 2, C: 2}")
    assert web.at("environment").text_entries == {"A": "1", "B": "2", "C": "2"}


def test_commands_and_health_checks_are_replaced():
    web = merged(
        "    command: a b\n    entrypoint: [e]\n    healthcheck: {test: x, retries: 2}",
        "    command: c\n    entrypoint: f g\n    healthcheck: {test: [CMD, 'y']}",
    )
    assert web.at("command").texts == ("c",)
    assert web.at("entrypoint").texts == ("f", "g")
    assert web.at("healthcheck", "test").texts == ("CMD", "y")
    assert web.at("healthcheck", "retries").whole() == 2


def test_other_lists_are_appended_without_doubles():
    web = merged("    cap_add: [A, B]\n    dns: 1.1.1.1", "    cap_add: [B, C]\n    dns: [8.8.8.8]")
    assert web.at("cap_add").texts == ("A", "B", "C")
    assert web.at("dns").texts == ("1.1.1.1", "8.8.8.8")


def test_a_command_keeps_its_doubles():
    assert merged("    command: echo a a").at("command").texts == ("echo", "a", "a")


def test_ports_merge_by_the_published_port():
    web = merged("    ports: ['80:80', '90', '53:53/udp']", "    ports: ['80:81', '91', '53:53']")
    found = [(p.at("published").whole(), p.at("target").whole()) for p in web.at("ports").items]
    assert found == [(0, 90), (53, 53), (80, 81), (0, 91), (53, 53)]


def test_volumes_merge_by_target_and_secrets_by_where_they_appear():
    web = merged(
        "    volumes: ['a:/a', 'b:/b']\n    secrets: [s]",
        "    volumes: ['c:/a:ro']\n    secrets: [{source: s, mode: 0400}, {source: s, target: t}]",
    )
    assert [(v.at("source").text, v.at("target").text) for v in web.at("volumes").items] == [
        ("b", "/b"),
        ("c", "/a"),
    ]
    assert [(s.at("target").text, s.at("mode").whole()) for s in web.at("secrets").items] == [
        ("", 0o400),
        ("t", 0),
    ]


def test_networks_keep_their_aliases_where_a_later_file_only_names_them():
    web = merged("    networks: {a: {aliases: [x]}}", "    networks: [a, b]")
    assert web.at("networks", "a", "aliases").texts == ("x",)
    assert list(web.at("networks").entries) == ["a", "b"]


def test_override_replaces_and_reset_removes():
    web = merged(
        "    ports: ['80:80']\n    environment: {A: 1, B: 1}\n    user: me",
        "    ports: !override ['90:90']\n    environment: {A: !reset null}\n    user: !reset null",
    )
    assert [p.at("published").whole() for p in web.at("ports").items] == [90]
    assert web.at("environment").text_entries == {"B": "1"}
    assert web.at("user").absent


def test_a_secret_is_taken_whole_from_the_last_file_that_declares_it():
    one = "services: {w: {image: i}}\nsecrets: {s: {file: a}}"
    two = "secrets: {s: {external: true}}"
    tree = read([("1.yml", one), ("2.yml", two)], {}).tree
    assert list(tree.at("secrets", "s").entries) == ["external"]


def test_services_of_a_profile_that_is_not_asked_for_are_left_out_aloud():
    text = "services: {a: {image: i}, b: {image: i, profiles: [debug]}}"
    document = read([("c.yml", text)], {})
    assert list(document.tree.at("services").entries) == ["a"]
    assert "left out: set COMPOSE_PROFILES to one of its profiles (debug)" in document.warnings[0]
    active = read([("c.yml", text)], {"COMPOSE_PROFILES": "x,debug"})
    assert list(active.tree.at("services").entries) == ["a", "b"]
