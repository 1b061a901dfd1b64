"""Names of images as Docker reads them."""

import pytest

from pyswarm.errors import InvalidArgument
from pyswarm.registry.reference import parse, pinned, with_tag

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full", "host"),
    [
        ("busybox", "docker.io/library/busybox:latest", "registry-1.docker.io"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "registry-1.docker.io"),
        ("user/web", "docker.io/user/web:latest", "registry-1.docker.io"),
        ("index.docker.io/web", "docker.io/library/web:latest", "registry-1.docker.io"),
        ("registry:5000/foo:bar", "registry:5000/foo:bar", "registry:5000"),
        ("registry:5000/shop/web", "registry:5000/shop/web:latest", "registry:5000"),
        ("localhost/web", "localhost/web:latest", "localhost"),
        ("[::1]:5000/web", "[::1]:5000/web:latest", "[::1]:5000"),
        ("ghcr.io/a/b/c:V1.0_x-y", "ghcr.io/a/b/c:V1.0_x-y", "ghcr.io"),
        (f"web@{DIGEST}", f"docker.io/library/web@{DIGEST}", "registry-1.docker.io"),
    ],
)
def test_a_name_is_completed_as_docker_does(text: str, full: str, host: str) -> None:
    assert str(parse(text)) == full
    assert parse(text).host == host


def test_a_full_name_stands_for_itself() -> None:
    for text in ("busybox", "registry:5000/foo:bar", f"a/b@{DIGEST}"):
        assert parse(str(parse(text))) == parse(text)


def test_a_digest_makes_the_tag_irrelevant() -> None:
    assert parse(f"registry:5000/web:1@{DIGEST}") == parse(f"registry:5000/web@{DIGEST}")
    assert parse(f"registry:5000/web:1@{DIGEST}").target == DIGEST


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "web:", "Web", "a//b", "/web", "web/", "-web", "we b", "web:a b", "x:y/z"),
        *("http://foo/bar", "web@", "web@sha256:12", f"web@md5:{'a' * 32}", "web@" + DIGEST[:-1]),
        *("web:" + "t" * 129, "a" * 256, "..", "registry:5000/../x", "web\n"),
    ],
)
def test_what_is_no_name_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse(text)


def test_an_image_is_pinned_with_the_tag_that_it_was_asked_for_by() -> None:
    assert with_tag("busybox") == "busybox:latest"
    assert with_tag("registry:5000/web") == "registry:5000/web:latest"
    assert with_tag(f"web@{DIGEST}") == f"web@{DIGEST}"
    assert pinned("busybox", DIGEST) == f"busybox:latest@{DIGEST}"
    assert pinned("registry:5000/web:1", DIGEST) == f"registry:5000/web:1@{DIGEST}"
