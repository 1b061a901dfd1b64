"""Which login counts for an image, and what Docker's command line has stored of logins. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pyswarm.errors import InvalidArgument
from pyswarm.model import RegistryCredential
from pyswarm.registry.reference import DEFAULT_DOMAIN, DEFAULT_HOST, is_domain, parse

HUB_KEY: Final = "https://index.docker.io/v1/"
"""Docker's own name for the login of Docker Hub."""
TOKEN_USER: Final = "<token>"
"""The user of an identity token, as Docker's credential helpers have it."""
_HUB: Final = frozenset([DEFAULT_DOMAIN, DEFAULT_HOST, "index.docker.io", "hub.docker.com"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user of a registry; `password` never appears in a repr. That of the user TOKEN_USER is an
    identity token: an OAuth 2 refresh token, with which a token server is asked instead."""

    user: str
    password: str = field(repr=False)

    @property
    def identity_token(self) -> str:
        """The identity token; empty where this is a user with a password."""
        return self.password if self.user == TOKEN_USER else ""


def server_name(text: str) -> str:
    """The registry as names of images have it: `https://index.docker.io/v1/` is `docker.io`.

    Raises InvalidArgument where this is no host.
    """
    host = text.strip().removeprefix("https://").removeprefix("http://").partition("/")[0]
    if not is_domain(host):
        raise InvalidArgument(f"'{text}' is no registry: write HOST or HOST:PORT")
    return DEFAULT_DOMAIN if host in _HUB else host


def chosen(
    image: str, service_id: str, credentials: Iterable[RegistryCredential]
) -> RegistryCredential | None:
    """The credential for an image of a service: its own, else the cluster's; None without one."""
    try:
        domain = parse(image).domain
    except InvalidArgument:
        return None
    fitting = [
        each
        for each in credentials
        if each.server == domain and each.service_id in ("", service_id)
    ]
    return max(fitting, key=lambda each: (each.service_id, each.id), default=None)


@dataclass(frozen=True, slots=True)
class Helper:
    """Ask the program `docker-credential-NAME` for the login of `server`."""

    name: str
    server: str


def stored_login(config: Mapping[str, Any], server: str) -> Login | Helper | None:
    """What Docker's config.json says of a registry (`server` as `server_name` answers it).

    Docker's order: the helper of this registry, the helper of all, what lies in the file itself.
    Raises InvalidArgument for a file that is not of Docker's form.
    """
    key = HUB_KEY if server == DEFAULT_DOMAIN else server
    helpers, auths = config.get("credHelpers") or {}, config.get("auths") or {}
    if not isinstance(helpers, dict) or not isinstance(auths, dict):
        raise InvalidArgument("Docker's config.json is damaged: auths or credHelpers is no object")
    helper = helpers.get(key) or helpers.get(server) or config.get("credsStore")
    if helper:
        return Helper(str(helper), key)
    for name, entry in auths.items():
        if name == key or (_is_server(name) and server_name(name) == server):
            return _login(name, entry)
    return None


def _is_server(text: str) -> bool:
    try:
        server_name(text)
    except InvalidArgument:
        return False
    return True


def _login(name: str, entry: Any) -> Login | None:
    if not isinstance(entry, dict):
        raise InvalidArgument(f"Docker's config.json is damaged: the entry of {name} is no object")
    if entry.get("identitytoken"):
        return Login(user=TOKEN_USER, password=str(entry["identitytoken"]))
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            decoded = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except (binascii.Error, ValueError):
            raise InvalidArgument(
                f"Docker's config.json is damaged: the login of {name} is no base64"
            ) from None
        user, _, password = decoded.rstrip("\0").partition(":")
    return Login(user=user, password=password) if user else None


def helper_login(answer: str, helper: Helper) -> Login:
    """The login in what a credential helper printed; raises InvalidArgument."""
    try:
        said = json.loads(answer)
        user, password = str(said["Username"]), str(said["Secret"])
    except (ValueError, LookupError, TypeError):
        raise InvalidArgument(
            f"docker-credential-{helper.name} gave no login for {helper.server}"
        ) from None
    return Login(user=user, password=password)
