"""What runc says when a container cannot be made, in one sentence."""

from __future__ import annotations

import re

from pyswarm.errors import InvalidArgument, SwarmError

_WRAPPING = re.compile(
    r"^(?:containerd|failed to create shim task|OCI runtime (?:create|start|exec) failed|"
    r"runc (?:create|start) failed|exec failed|unable to start container process|"
    r"container_linux\.go:\d+|starting container process caused|failed to start shim): "
)
_USERS_FAULT = ("exec: ", "chdir to cwd", "error mounting", "mkdir ", "not a directory")


def sentence(error: SwarmError, what: str) -> SwarmError:
    """`error` of containerd with its wrapping taken off; one of the user's spec is permanent."""
    if error.temporary:
        return error
    text = error.message.strip()
    while (found := _WRAPPING.match(text)) is not None:
        text = text[found.end() :]
    text = re.sub(r"(?:: unknown)+$", "", text)
    text = " ".join(text.split())[:500]
    if text.startswith(_USERS_FAULT) or "executable file not found" in text:
        return InvalidArgument(f"{what}: {text}")
    return type(error)(f"{what}: {text}")
