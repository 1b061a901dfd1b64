"""Crash points: each is registered and reached from one place, and nothing but tests arms them."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pyswarm.crashpoints import POINTS

ROOT = Path(__file__).parents[2]
PACKAGES = ("pyswarm", "manager", "agent", "overlay", "certs")
MODULE = ROOT / "pyswarm/crashpoints.py"


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a function or method of that name, with its place."""
    for path in sources():
        if path == MODULE or name not in (text := path.read_text()):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                function = node.func
                called = getattr(function, "id", None) or getattr(function, "attr", None)
                if called == name:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_each_point_is_registered_and_reached_from_one_place() -> None:
    places: dict[str, list[str]] = {}
    for place, call in calls("reach"):
        (argument,) = call.args
        assert isinstance(argument, ast.Constant), f"{place}: write the name out"
        places.setdefault(str(argument.value), []).append(place)
    unknown = {name: where for name, where in places.items() if name not in POINTS}
    assert not unknown, f"not in pyswarm/crashpoints.py: {unknown}"
    often = {name: where for name, where in places.items() if len(where) > 1}
    assert not often, f"give each place a name of its own: {often}"
    assert not POINTS.keys() - places.keys(), "registered, and reached from nowhere"


def test_each_point_of_a_node_that_comes_or_goes_kills_a_daemon_in_the_lab() -> None:
    # The others are enumerated by the tests that reach them.
    tree = ast.parse((ROOT / "tests/e2e/test_crash_points.py").read_text())
    named = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert not {n for n in POINTS if n.startswith(("join.", "leave."))} - named


def test_no_code_but_that_of_tests_arms_a_point() -> None:
    bad = [
        place
        for name in ("arm", "death_at")
        for place, call in calls(name)
        if not place.startswith("pyswarm/testing/")
        and isinstance(call.func, ast.Name | ast.Attribute)
        and "crashpoints" in (ROOT / place.partition(":")[0]).read_text()
    ]
    assert not bad, f"a daemon is armed by its environment alone: {bad}"


def test_the_registry_reads_one_variable_of_the_environment_and_nothing_else() -> None:
    tree = ast.parse(MODULE.read_text())
    read = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert Counter(read)["os.environ"] == 1
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    assert {alias.name for node in imports for alias in node.names} == {"os", "signal"}
