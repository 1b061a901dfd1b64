"""Docker's own logins: its file, and its helpers, which are programs."""

import json
from pathlib import Path

import pytest

from pyswarm.cli.dockerlogin import docker_login
from pyswarm.errors import InvalidArgument


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def configure(folder: Path, **config: object) -> None:
    (folder / "config.json").write_text(json.dumps(config))


def helper(folder: Path, script: str) -> None:
    path = folder / "docker-credential-box"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_without_a_file_there_is_no_login(folder: Path) -> None:
    assert docker_login("registry:5000/web:1") is None


def test_the_file_has_the_login_of_the_images_registry(folder: Path) -> None:
    configure(folder, auths={"registry:5000": {"auth": "YW5uOnMzY3JldA=="}})
    found = docker_login("registry:5000/web:1")
    assert found is not None
    assert (found.server, found.user, found.password) == ("registry:5000", "ann", "s3cret")
    assert docker_login("web:1") is None


def test_a_helper_is_asked_by_the_name_that_docker_has_for_the_registry(folder: Path) -> None:
    configure(folder, credsStore="box")
    helper(folder, 'printf \'{"Username":"ann","Secret":"%s"}\' "$1 $(cat)"')
    found = docker_login("web:1")
    assert found is not None
    assert (found.server, found.password) == ("docker.io", "get https://index.docker.io/v1/")


def test_a_helper_that_knows_nothing_is_no_failure(folder: Path) -> None:
    configure(folder, credHelpers={"ghcr.io": "box"})
    helper(folder, "echo 'credentials not found in native keychain'; exit 1")
    assert docker_login("ghcr.io/a/b:1") is None


@pytest.mark.parametrize("script", ["echo locked >&2; exit 1", "echo nothing", None])
def test_a_helper_that_fails_or_is_missing_is_named(folder: Path, script: str | None) -> None:
    configure(folder, credsStore="box")
    if script is not None:
        helper(folder, script)
    with pytest.raises(InvalidArgument, match="docker-credential-box"):
        docker_login("web:1")


@pytest.mark.parametrize("text", ["{", "[]", '{"credsStore": "../evil"}'])
def test_a_file_that_cannot_be_used_is_said_to_be_so(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(InvalidArgument):
        docker_login("web:1")
