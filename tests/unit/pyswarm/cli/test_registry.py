"""`registry login`: from where the login comes."""

import asyncio
import json
from argparse import Namespace
from pathlib import Path

import pytest

from pyswarm.api.v1 import control_pb2, registry_pb2
from pyswarm.cli import registry
from pyswarm.errors import InvalidArgument, NotFound


class Swarm:
    """A connection to a swarm that takes every login."""

    def __init__(self) -> None:
        self.registries = self
        self.logins: list[tuple[str, str, str]] = []

    async def call(self, answer):
        return await answer

    async def Login(self, request: control_pb2.RegistryLogin) -> registry_pb2.LoginReply:
        self.logins.append((request.server, request.user, request.password))
        return registry_pb2.LoginReply(server=request.server)


def login(server: str = "", **given: object) -> list[tuple[str, str, str]]:
    swarm = Swarm()
    words = {"username": "", "password_stdin": False, "from_docker": True, "server": server}
    asyncio.run(registry._login(Namespace(**words | given), swarm))
    return swarm.logins


@pytest.fixture(autouse=True)
def _docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    auths = {"ghcr.io": {"identitytoken": "refresh/me"}, "registry:5000": {"auth": "YW5uOnMzY3I="}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


def test_what_docker_has_is_taken_over() -> None:
    assert login("ghcr.io") == [("ghcr.io", "<token>", "refresh/me")]
    assert login("https://registry:5000") == [("https://registry:5000", "ann", "s3cr")]


def test_what_docker_does_not_have_is_named() -> None:
    with pytest.raises(NotFound, match=r"docker has no login for docker\.io here"):
        login()
    with pytest.raises(InvalidArgument, match="takes no --username"):
        login("ghcr.io", username="ann")
