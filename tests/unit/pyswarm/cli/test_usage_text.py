"""`system df` and `system prune` in Docker's forms."""

import json

import pytest

from pyswarm.api.v1 import system_pb2
from pyswarm.cli.usage_text import (
    decimal_size,
    details,
    familiar,
    pruned,
    summary,
    until_of,
    warning,
)
from pyswarm.errors import InvalidArgument

NOW = 1_800_000_000.0


def usage(host: str) -> system_pb2.NodeUsage:
    return system_pb2.NodeUsage(
        hostname=host,
        images=[
            system_pb2.ImageUsage(
                name="docker.io/library/web:1",
                digest="sha256:" + "a" * 64,
                created_at=NOW - 7200,
                size_bytes=3_000_000,
                unique_bytes=1_000_000,
                containers=1,
            ),
            system_pb2.ImageUsage(name=f"r:5000/old@sha256:{'b' * 64}", size_bytes=2_000_000),
        ],
        images_bytes=3_500_000,
        images_reclaimable_bytes=500_000,
        containers=[
            system_pb2.ContainerUsage(
                id="t" * 25, name="web.1", image="web:1@sha256:1", running=True, size_bytes=1024
            )
        ],
        volumes=[system_pb2.VolumeUsage(name="data", size_bytes=36)],
    )


def test_the_sum_comes_first_and_each_node_after_it() -> None:
    lines = summary([usage("m1"), usage("w1")], "table").splitlines()
    assert lines == [
        "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE",
        "Images          4         2         7MB       1MB (14%)",
        "Containers      2         2         2.048kB   0B (0%)",
        "Local Volumes   2         0         72B       72B (100%)",
        "Build Cache     0         0         0B        0B",
        "",
        "NODE      TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE",
        "m1        Images          2         1         3.5MB     500kB (14%)",
        "m1        Containers      1         1         1.024kB   0B (0%)",
        "m1        Local Volumes   1         0         36B       36B (100%)",
        "w1        Images          2         1         3.5MB     500kB (14%)",
        "w1        Containers      1         1         1.024kB   0B (0%)",
        "w1        Local Volumes   1         0         36B       36B (100%)",
    ]


def test_json_has_a_line_for_each_type_and_then_for_each_node() -> None:
    rows = [json.loads(line) for line in summary([usage("m1")], "json").splitlines()]
    assert [row.get("Node") for row in rows] == [None] * 4 + ["m1"] * 3
    assert rows[0]["Reclaimable"] == "500kB (14%)"


def test_no_node_at_all_is_four_lines_of_nothing() -> None:
    assert len(summary([], "table").splitlines()) == 5


def test_the_details_name_everything_with_its_node() -> None:
    text = details([usage("m1")], NOW)
    assert "m1        web          1         aaaaaaaaaaaa   2 hours ago" in text
    assert "r:5000/old   <none>" in text
    assert "tttttttttttt   web:1" in text
    assert "data" in text


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("docker.io/library/web:1", ("web", "1")),
        ("docker.io/ann/web:1", ("ann/web", "1")),
        ("r:5000/web:1", ("r:5000/web", "1")),
        ("r:5000/web@sha256:1", ("r:5000/web", "<none>")),
    ],
)
def test_names_are_shown_as_users_write_them(name: str, found: tuple[str, str]) -> None:
    assert familiar(name) == found


def test_sizes_are_counted_in_thousands_as_docker_counts_them_here() -> None:
    sizes = (0, 999, 1000, 16_430_000, 3_000_000_000)
    assert [decimal_size(each) for each in sizes] == ["0B", "999B", "1kB", "16.43MB", "3GB"]


def test_until_is_a_duration_or_a_time() -> None:
    assert until_of([], NOW) == 0
    assert until_of(["until=24h"], NOW) == NOW - 86400
    assert until_of(["until=1700000000"], NOW) == 1_700_000_000
    assert until_of(["until=2026-01-31T12:00:00Z"], NOW) == 1_769_860_800
    for bad in ("until", "until=soon", "label=x"):
        with pytest.raises(InvalidArgument):
            until_of([bad], NOW)


def test_the_warning_says_what_goes() -> None:
    assert "all dangling images" in warning(False, False, [])
    everything = warning(True, True, ["until=24h"])
    assert "all images without at least one container associated to them" in everything
    assert "all anonymous volumes not used by at least one container" in everything
    assert "  - until=24h\n" in everything


def test_what_went_is_listed_with_its_node_and_summed_up() -> None:
    found = [
        system_pb2.Pruned(networks=["front"]),
        system_pb2.Pruned(hostname="w1", images=["web:1"], reclaimed_bytes=2_000_000),
        system_pb2.Pruned(hostname="w2", problem="it is not connected"),
    ]
    assert pruned(found) == (
        "Deleted Networks:\nfront\n\nDeleted Images:\nweb:1 (w1)\n\nTotal reclaimed space: 2MB"
    )
