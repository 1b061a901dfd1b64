"""Which login counts, and where Docker's command line keeps its own."""

import base64

import pytest

from pyswarm.errors import InvalidArgument
from pyswarm.model import RegistryCredential
from pyswarm.registry.logins import (
    HUB_KEY,
    TOKEN_USER,
    Helper,
    Login,
    chosen,
    helper_login,
    server_name,
    stored_login,
)

ANN = Login(user="ann", password="a:b")
AUTH = {"auth": base64.b64encode(b"ann:a:b").decode()}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("http://registry:5000", "registry:5000"),
        ("ghcr.io/", "ghcr.io"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_a_server_is_named_as_its_images_are(text: str, name: str) -> None:
    assert server_name(text) == name


@pytest.mark.parametrize("text", ["", "a b", "ftp://host", "host:port", "-x"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        server_name(text)


def test_a_services_own_login_comes_before_the_clusters() -> None:
    ours = RegistryCredential(id="a", server="registry:5000", user="all")
    own = RegistryCredential(id="b", server="registry:5000", user="web", service_id="s1")
    other = RegistryCredential(id="c", server="ghcr.io", user="other")
    everything = [ours, own, other]
    assert chosen("registry:5000/web:1", "s1", everything) is own
    assert chosen("registry:5000/web:1", "s2", everything) is ours
    assert chosen("ghcr.io/a/b@sha256:" + "a" * 64, "s1", everything) is other
    assert chosen("busybox", "s1", everything) is None
    assert chosen("no image!", "s1", everything) is None


def test_no_password_is_shown_by_accident() -> None:
    assert "hush" not in repr(Login(user="ann", password="hush"))
    assert "hush" not in repr(RegistryCredential(id="a", user="ann", password="hush"))


@pytest.mark.parametrize(
    "config",
    [
        {"auths": {"registry:5000": AUTH}},
        {"auths": {"https://registry:5000/v2/": AUTH}},
        {"auths": {"registry:5000": {"username": "ann", "password": "a:b"}}},
    ],
)
def test_a_login_in_dockers_file_is_found(config: dict[str, object]) -> None:
    assert stored_login(config, "registry:5000") == ANN
    assert stored_login(config, "registry:5001") is None


def test_docker_hub_has_a_name_of_its_own_there() -> None:
    assert stored_login({"auths": {HUB_KEY: AUTH}}, "docker.io") == ANN


def test_a_helper_comes_before_the_file_and_its_own_before_that_of_all() -> None:
    config = {"auths": {"ghcr.io": AUTH}, "credsStore": "pass", "credHelpers": {"ghcr.io": "gh"}}
    assert stored_login(config, "ghcr.io") == Helper("gh", "ghcr.io")
    assert stored_login(config, "docker.io") == Helper("pass", HUB_KEY)
    assert helper_login('{"Username": "ann", "Secret": "a:b"}', Helper("gh", "ghcr.io")) == ANN


@pytest.mark.parametrize(
    "config",
    [
        {"auths": [1]},
        {"auths": {"ghcr.io": 1}},
        {"auths": {"ghcr.io": {"auth": "%%"}}},
    ],
)
def test_a_file_that_cannot_be_used_is_said_to_be_so(config: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        stored_login(config, "ghcr.io")


def test_an_identity_token_is_a_login_without_a_password() -> None:
    """Docker leaves a user beside it, and helpers have a user for it."""
    token = Login(user=TOKEN_USER, password="x")
    assert stored_login({"auths": {"ghcr.io": {"identitytoken": "x", **AUTH}}}, "ghcr.io") == token
    assert helper_login('{"Username": "<token>", "Secret": "x"}', Helper("gh", "ghcr.io")) == token
    assert (token.identity_token, ANN.identity_token) == ("x", "")


@pytest.mark.parametrize("answer", ["", "[]", "{}"])
def test_a_helper_without_a_login_is_named(answer: str) -> None:
    with pytest.raises(InvalidArgument, match="docker-credential-gh"):
        helper_login(answer, Helper("gh", "ghcr.io"))
