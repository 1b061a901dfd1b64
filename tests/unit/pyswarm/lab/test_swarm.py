"""What the lab reads from `node ls --format json`."""

from pyswarm.lab.swarm import ready_nodes


def test_nodes_are_read_one_a_line_or_as_a_list() -> None:
    lines = '{"Hostname": "w1", "Status": "Ready"}\n{"Hostname": "m1", "Status": "Down"}\n'
    assert ready_nodes(lines) == ["w1"]
    assert ready_nodes('[{"Hostname": "m1", "Status": "ready"}]') == ["m1"]
    assert ready_nodes("") == []
