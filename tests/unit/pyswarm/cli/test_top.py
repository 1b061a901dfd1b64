import json

import pytest

from pyswarm.api.v1 import observe_pb2
from pyswarm.cli.top import Board, decimal_size


def batch(node, *names, problem=""):
    tasks = [
        observe_pb2.TaskStats(
            task_id="0123456789abcdef",
            task_name=f"{name}.0123456789abcdef",
            cpu_percent=12.345,
            memory_bytes=64 << 20,
            memory_limit_bytes=256 << 20,
            network_received_bytes=1450,
            network_sent_bytes=12,
            block_read_bytes=2_000_000,
            pids=3,
        )
        for name in names
    ]
    return observe_pb2.StatsBatch(node_id=node, node_name=node, tasks=tasks, problem=problem)


def test_tasks_of_all_nodes_stand_in_one_table_by_name():
    board = Board(full=False)
    board.take(batch("w1", "web.10", "web.2"))
    board.take(batch("w2", "api.1"))
    head, *rows = board.text("table").splitlines()
    assert head.split()[:4] == ["ID", "NAME", "NODE", "CPU"]
    assert [row.split()[1] for row in rows] == ["api.1", "web.2", "web.10"]
    assert "12.35%" in rows[0] or "12.34%" in rows[0]
    assert "64MiB / 256MiB" in rows[0]
    assert "25.00%" in rows[0]
    assert "1.45kB / 12B" in rows[0]


def test_a_later_look_of_a_node_replaces_the_one_before():
    board = Board(full=True)
    board.take(batch("w1", "web.1", "web.2"))
    board.take(batch("w1", "web.1"))
    [row] = [json.loads(line) for line in board.text("json").splitlines()]
    assert row["ID"] == "0123456789abcdef"
    assert row["BlockIO"] == "2MB / 0B"


def test_a_node_that_does_not_answer_is_named_until_it_does():
    board = Board(full=True)
    board.take(batch("w1", "web.1"))
    board.take(batch("w2", problem="node w2 is not connected"))
    assert board.problems() == ["node w2 is not connected"]
    board.take(batch("w2", "web.2"))
    assert board.problems() == []


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (999, "999B"), (1000, "1kB"), (1450, "1.45kB"), (2e9, "2GB")]
)
def test_sizes_on_the_wire_are_decimal(size, text):
    assert decimal_size(int(size)) == text
