"""The logins of Docker's own command line: `~/.docker/config.json` and its credential helpers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

from pyswarm.api.v1 import control_pb2
from pyswarm.errors import InvalidArgument
from pyswarm.registry.logins import Helper, Login, helper_login, stored_login
from pyswarm.registry.reference import parse

HELPER_SECONDS: Final = 60.0
"""A helper may ask its user, who has to read the question."""
FILE_BYTES_MAX: Final = 4 << 20


def _config() -> dict[str, Any]:
    folder = os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"
    path = Path(folder, "config.json")
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX)
        found = json.loads(data)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidArgument(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidArgument(f"{path} is no JSON object")
    return found


def _ask(helper: Helper) -> Login | None:
    program = f"docker-credential-{helper.name}"
    if "/" in helper.name:
        raise InvalidArgument(f"Docker's config.json names no credential helper: {helper.name!r}")
    try:
        done = subprocess.run(
            [program, "get"],
            input=helper.server,
            capture_output=True,
            text=True,
            timeout=HELPER_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise InvalidArgument(
            f"{program}, which Docker's config.json names, is not installed"
        ) from None
    except subprocess.TimeoutExpired:
        raise InvalidArgument(f"{program} gave no answer in {HELPER_SECONDS:g} s") from None
    if done.returncode:
        if "not found" in f"{done.stdout}{done.stderr}":  # its word for "no login for this one"
            return None
        raise InvalidArgument(f"{program} failed: {(done.stderr or done.stdout).strip()[:200]}")
    return helper_login(done.stdout, helper)


def login_for(server: str) -> Login | None:
    """The login that Docker has for a registry; None where it has none.

    Raises InvalidArgument where what it has cannot be used.
    """
    found = stored_login(_config(), server)
    return _ask(found) if isinstance(found, Helper) else found


def docker_login(image: str) -> control_pb2.RegistryLogin | None:
    """The login that Docker has for the image's registry, as `login_for` answers it."""
    server = parse(image).domain
    login = login_for(server)
    if login is None:
        return None
    return control_pb2.RegistryLogin(server=server, user=login.user, password=login.password)
