"""The rules of the house as tests; each message says what to do instead."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("pyswarm", "manager", "agent", "overlay", "certs")
GENERATED = ROOT / "pyswarm" / "api"

# A module is pure unless its file is called one of these, or lies in one of the packages below.
SHELL_FILES = frozenset(
    ["driver", "server", "client", "transport", "disk", "netlink", "nft", "runtime", "main"]
)
SHELL_PACKAGES = (
    "agent.runtime",
    "pyswarm.aio",
    "pyswarm.cli",
    "pyswarm.daemon",
    "pyswarm.engine",
    "pyswarm.lab",
    "pyswarm.rpc",
    "pyswarm.testing",
    "pyswarm.web",
)
# pyswarm/__init__.py sets one variable of the environment, which grpcio reads at its import;
# crashpoints reads one, and kills the process.
SHELL_MODULES = frozenset(["pyswarm", "pyswarm.crashpoints"])
SHELL_IMPORTS = {
    *("asyncio", "grpc", "os", "pyroute2", "random", "secrets", "selectors"),
    *("signal", "socket", "ssl", "subprocess", "threading", "time", "uuid", "uvloop"),
}
LINES_MAX = 500
FUNCTION_LINES_MAX = 70
BANNED_FILES = frozenset(["utils", "util", "common", "helpers", "helper", "base", "misc"])


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def sources() -> list[Path]:
    """Every module that we wrote; what protoc generated is not ours to judge."""
    found = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in found if not path.is_relative_to(GENERATED)]


@cache
def everything() -> list[Path]:
    """Sources, tests and the programs of deploy/."""
    others = [path for top in ("tests", "deploy") for path in sorted((ROOT / top).rglob("*.py"))]
    return sources() + others


def tree(path: Path) -> ast.Module:
    # Not kept: to collect around some hundred thousand nodes costs more than to parse again.
    return ast.parse(path.read_text(), filename=str(path))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_shell(module: str) -> bool:
    inside = any(module == top or module.startswith(f"{top}.") for top in SHELL_PACKAGES)
    return inside or module in SHELL_MODULES or module.rpartition(".")[2] in SHELL_FILES


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a module imports, also inside functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}:{node.lineno}: import by the full name"
            yield node.lineno, node.module or ""
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def none(bad: list[str]) -> None:
    """Fail with one line for each violation."""
    assert not bad, "\n" + "\n".join(bad)


def test_a_pure_module_imports_no_clock_no_socket_and_no_shell() -> None:
    ours = {module_name(path) for path in sources()}
    bad = []
    for path in sources():
        if is_shell(module_name(path)):
            continue
        for line, name in imports(path):
            if name.partition(".")[0] in SHELL_IMPORTS:
                bad.append(
                    f"{relative(path)}:{line}: a pure module imports {name}; pass the value in,"
                    f" or give the file one of the names {', '.join(sorted(SHELL_FILES))}"
                )
            elif name in ours and is_shell(name):
                bad.append(f"{relative(path)}:{line}: a pure module imports the shell {name}")
    none(sorted(set(bad)))


def test_a_module_has_at_most_500_lines() -> None:
    none(
        [
            f"{relative(path)}: {count} lines; split it by what it knows"
            for path in everything()
            if (count := len(path.read_text().splitlines())) > LINES_MAX
        ]
    )


def test_a_function_has_at_most_70_lines() -> None:
    bad = []
    for path in everything():
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            if count > FUNCTION_LINES_MAX:
                bad.append(f"{relative(path)}:{node.lineno}: {node.name} has {count} lines")
    none(bad)


def test_no_file_has_a_name_that_says_nothing() -> None:
    none(
        [
            f"{relative(path)}: name it after what it knows"
            for path in everything()
            if path.stem in BANNED_FILES or path.parent.name in BANNED_FILES
        ]
    )


def test_every_module_says_what_it_is_for() -> None:
    none(
        [
            f"{relative(path)}: no docstring at its top"
            for path in everything()
            if not ast.get_docstring(tree(path)) and not path.is_relative_to(ROOT / "tests")
        ]
    )


def test_tests_are_no_package() -> None:
    """An `__init__.py` under tests/ hides the real package of the same name from the tests."""
    none([f"{relative(path)}: delete it" for path in (ROOT / "tests").rglob("__init__.py")])


def test_the_proto_directory_is_no_package() -> None:
    none([f"{relative(path)}: delete it" for path in (ROOT / "proto").rglob("__init__.py")])


def test_nothing_is_left_to_do_later() -> None:
    words = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|NotImplemented" + r"Error)\b")
    bad = []
    for path in everything():
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if found := words.search(line):
                bad.append(f"{relative(path)}:{number}: {found.group()}; do it, or file an issue")
    none(bad)


def test_no_file_knows_where_it_was_written() -> None:
    path = re.compile(r"(?<![\w.])/(?:home|Users|work)/\w")
    bad = []
    for source in sources():
        for number, line in enumerate(source.read_text().splitlines(), start=1):
            if path.search(line):
                bad.append(f"{relative(source)}:{number}: names a path of somebody's machine")
    none(bad)


COMPONENTS = (
    "agent",
    "agent/runtime",
    "certs",
    "deploy",
    "manager",
    "manager/ca",
    "manager/control",
    "manager/dispatcher",
    "manager/raft",
    "manager/recovery",
    "manager/state",
    "overlay",
    "pyswarm/cli",
    "pyswarm/compose",
    "pyswarm/daemon",
    "pyswarm/lab",
    "pyswarm/registry",
    "pyswarm/rpc",
    "pyswarm/wire",
)
"""Parts with words of their own; the planners share the manager's README."""


def components() -> Iterator[Path]:
    """The folders of the components."""
    return (ROOT / name for name in COMPONENTS)


def test_every_component_has_a_readme() -> None:
    none(
        [
            f"{relative(directory)}: no README.md; its words, one drawing, its decisions"
            for directory in components()
            if not (directory / "README.md").is_file()
        ]
    )


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def lower_bound(distribution: str) -> tuple[int, ...]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        if found := re.fullmatch(rf"{distribution}>=([\d.]+)", requirement):
            return numbers(found.group(1))
    raise AssertionError(f"pyproject.toml gives no lower bound for {distribution}")


def test_the_lower_bound_of_grpcio_is_what_the_generated_code_demands() -> None:
    bound = lower_bound("grpcio")
    for path in GENERATED.rglob("*_pb2_grpc.py"):
        found = re.search(r"GRPC_GENERATED_VERSION = '([\d.]+)'", path.read_text())
        assert found, f"{relative(path)}: names no version of its generator"
        assert bound >= numbers(found.group(1)), f"{relative(path)} needs {found.group(1)}"


def test_the_lower_bound_of_protobuf_is_what_the_generated_code_demands() -> None:
    bound = lower_bound("protobuf")
    pattern = re.compile(r"ValidateProtobufRuntimeVersion\(\s*[\w.]+,\s*(\d+),\s*(\d+),\s*(\d+)")
    for path in GENERATED.rglob("*_pb2.py"):
        found = pattern.search(path.read_text())
        assert found, f"{relative(path)}: names no version of its generator"
        needed = tuple(int(part) for part in found.groups())
        assert bound >= needed, f"{relative(path)} needs {needed}"
