"""What a task's error says of a container's end."""

import pytest

from agent.executor.containers import ContainerExit
from agent.executor.ending import reason


def test_a_container_that_ended_by_itself_needs_no_more_words():
    assert reason(ContainerExit(exit_code=3), 64 << 20) == ""


@pytest.mark.parametrize(
    ("code", "limit", "words"),
    [
        (137, 64 << 20, "container killed: out of memory (limit 64MiB)"),
        (137, 3 << 29, "container killed: out of memory (limit 1.5GiB)"),
        (137, 0, "container killed: out of memory (of the node)"),
        (1, 64 << 20, "a process of the container was killed: out of memory (limit 64MiB)"),
    ],
)
def test_want_of_memory_is_named(code, limit, words):
    assert reason(ContainerExit(exit_code=code, out_of_memory=True), limit) == words
