"""Records as JSON in Docker's spelling."""

import json

from pyswarm.cli.jsonview import field_name, inspect_text, to_json
from pyswarm.model import Meta, Network, NetworkSpec, Node, PayloadSpec, Secret


def test_names_are_spelt_as_docker_does():
    assert [field_name(n) for n in ("id", "network_id", "virtual_ips", "replicas")] == [
        "ID",
        "NetworkID",
        "VirtualIPs",
        "Replicas",
    ]


def test_times_are_rfc_3339_and_enums_are_words():
    node = to_json(Node(id="n", meta=Meta(created_at=1_700_000_000.25)))
    assert node["Meta"]["CreatedAt"] == "2023-11-14T22:13:20.250Z"
    assert node["Meta"]["UpdatedAt"] == ""
    assert node["Role"] == "worker"


def test_label_keys_are_left_alone():
    network = to_json(Network(spec=NetworkSpec(labels={"com.example_x": "1"})))
    assert network["Spec"]["Labels"] == {"com.example_x": "1"}


def test_inspect_prints_an_array():
    shown = json.loads(inspect_text([Secret(id="s", spec=PayloadSpec(data=b"x"))]))
    assert shown[0]["Spec"]["Data"] == "eA=="
