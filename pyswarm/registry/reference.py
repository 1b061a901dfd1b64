"""Names of images, read as Docker reads them (the grammar of the `distribution` project).

`busybox` is `docker.io/library/busybox:latest`, `registry:5000/shop/web:1` is what it says, and
`web:1@sha256:<64 digits>` is `docker.io/library/web@sha256:<64 digits>`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pyswarm.errors import InvalidArgument

DEFAULT_DOMAIN: Final = "docker.io"
DEFAULT_HOST: Final = "registry-1.docker.io"  # Docker Hub answers at another name than its own
_LENGTH_MAX: Final = 255  # of domain and path

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?")
_PART: Final = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_PATH: Final = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG: Final = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A parsed name. A digest says all, so that the tag is empty where there is one."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    def __post_init__(self) -> None:
        assert bool(self.tag) != bool(self.digest), f"tag {self.tag!r}, digest {self.digest!r}"

    def __str__(self) -> str:
        """The full name, under which containerd keeps the image."""
        end = f"@{self.digest}" if self.digest else f":{self.tag}"
        return f"{self.domain}/{self.path}{end}"

    @property
    def host(self) -> str:
        """Host, and port where one is given, of the registry."""
        return DEFAULT_HOST if self.domain == DEFAULT_DOMAIN else self.domain

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest, or the tag."""
        return self.digest or self.tag


def is_domain(text: str) -> bool:
    """Whether this can be the host of a registry, with a port or without."""
    return _DOMAIN.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether this is `sha256:` and 64 hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


def parse(text: str) -> Reference:
    """The reference that a user wrote; raises InvalidArgument."""
    name, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise InvalidArgument(
            f"the digest of the image {text!r} must be sha256: and 64 hexadecimal digits"
        )
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:  # the colon was that of a port, or there is none
        head, colon, tag = name, "", ""
    domain, slash, path = head.partition("/")
    # Docker's rule: without a dot, a colon or a capital the first part is a user of Docker Hub.
    ours = set(".:") & set(domain) or domain == "localhost" or domain != domain.lower()
    if not slash or not ours:
        domain, path = DEFAULT_DOMAIN, head
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"library/{path}"
    if not _DOMAIN.fullmatch(domain):
        raise InvalidArgument(f"the image {text!r} names no registry: {domain!r} is no host name")
    if not _PATH.fullmatch(path):
        raise InvalidArgument(
            f"{text!r} is not the name of an image: write NAME:TAG or HOST:PORT/NAME:TAG in"
            " lower case"
        )
    if colon and not _TAG.fullmatch(tag):
        raise InvalidArgument(f"the image {text!r} has no valid tag: {tag!r}")
    if len(domain) + 1 + len(path) > _LENGTH_MAX:
        raise InvalidArgument(
            f"the name of the image {text[:40]!r}... is longer than {_LENGTH_MAX} characters"
        )
    return Reference(domain=domain, path=path, tag="" if digest else tag or "latest", digest=digest)


def with_tag(text: str) -> str:
    """The name as the user wrote it, with `:latest` where it has neither tag nor digest, as Docker
    stores it; raises InvalidArgument."""
    reference = parse(text)
    if reference.digest or text.endswith(f":{reference.tag}"):
        return text
    return f"{text}:{reference.tag}"


def pinned(text: str, digest: str) -> str:
    """`NAME:TAG@sha256:...`, as Docker stores an image whose digest it knows."""
    return f"{with_tag(text)}@{digest}"
