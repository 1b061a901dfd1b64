"""What becomes of a container's output: the service's log driver and options, worked out for one
container. After Docker's json-file and journald drivers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

from agent.executor.containers import ContainerRequest
from agent.runtime import command
from pyswarm.errors import InvalidArgument
from pyswarm.model import logdrivers
from pyswarm.model.logdrivers import DEFAULT_DRIVER
from pyswarm.registry.documents import ImageConfig
from pyswarm.templates.logs import DEFAULT_TAG, SHORT_CHARS, log_tag

JOURNAL: Final = "journald"
NONE: Final = "none"
FIELD_BYTES_MAX: Final = 64 * 1024
"""Of everything that goes with each line: a journal's datagram takes about 200 KiB."""
_NAME_LABEL: Final = "com.docker.swarm.task.name"


@dataclass(frozen=True, slots=True)
class Rotation:
    """Bounds of what is kept: `file_bytes` (0: without end) for each of `files` files."""

    file_bytes: int = 10 << 20
    files: int = 3


@dataclass(frozen=True, slots=True)
class LogPlan:
    """`attributes` go into each entry of a file, `fields` into each of the journal."""

    driver: str = DEFAULT_DRIVER
    rotation: Rotation = Rotation()
    attributes: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """To be kept beside the files, for a daemon that comes after this one."""
        return json.dumps(asdict(self))


def from_json(text: str) -> LogPlan:
    """The plan back; raises ValueError, TypeError or LookupError where it is damaged."""
    saved = json.loads(text)
    return LogPlan(
        str(saved["driver"]),
        Rotation(**saved["rotation"]),
        {str(key): str(value) for key, value in saved["attributes"].items()},
        {str(key): str(value) for key, value in saved["fields"].items()},
    )


def log_plan(request: ContainerRequest, image: ImageConfig) -> LogPlan:
    """Raises InvalidArgument for a driver or option that cannot be followed."""
    options = request.log_options
    driver = request.log_driver or DEFAULT_DRIVER
    try:
        logdrivers.check(driver, options)
        rotation = _rotation(options)
        extra = _extra(request, image)
    except ValueError as error:
        raise InvalidArgument(str(error)) from None
    if driver == NONE:
        return LogPlan(driver)
    name = request.labels.get(_NAME_LABEL, request.id)
    wanted = options.get("tag", "")
    tag = log_tag(wanted or DEFAULT_TAG, request.id, name, request.container.image)
    attributes = {**extra, "tag": tag} if wanted else extra
    if len(json.dumps(attributes)) > FIELD_BYTES_MAX:
        raise InvalidArgument(
            f"tag, labels and variables of a log are over {FIELD_BYTES_MAX} bytes"
        )
    fields = {}
    if driver == JOURNAL:
        fields = {
            **{_field_name(key): value for key, value in extra.items()},
            "CONTAINER_ID": request.id[:SHORT_CHARS],
            "CONTAINER_ID_FULL": request.id,
            "CONTAINER_NAME": name,
            "CONTAINER_TAG": tag,
            "IMAGE_NAME": request.container.image,
            "SYSLOG_IDENTIFIER": tag,
        }
        fields.pop("", None)
    return LogPlan(driver, rotation, attributes, fields)


def _rotation(options: Mapping[str, str]) -> Rotation:
    default = Rotation()
    size, files = options.get("max-size", ""), options.get("max-file", "")
    return Rotation(
        logdrivers.file_bytes(size) if size else default.file_bytes,
        logdrivers.files(files) if files else default.files,
    )


def _extra(request: ContainerRequest, image: ImageConfig) -> dict[str, str]:
    """Labels and variables that the options `labels`, `env` and their `-regex` name."""
    options = request.log_options
    container = request.container
    lines = command.environment(container, image, request.hostname, container.tty)
    variables = dict(line.split("=", 1) for line in lines)
    return {
        **_chosen(request.labels, options.get("labels", ""), options.get("labels-regex", "")),
        **_chosen(variables, options.get("env", ""), options.get("env-regex", "")),
    }


def _chosen(found: Mapping[str, str], names: str, regex: str) -> dict[str, str]:
    wanted: Iterable[str] = [name for name in names.split(",") if name in found]
    chosen = {name: found[name] for name in wanted}
    if regex:
        pattern = logdrivers.pattern(regex)
        chosen |= {name: value for name, value in found.items() if pattern.search(name)}
    return chosen


def _field_name(text: str) -> str:
    """A name that the journal takes: upper case, no underscore at its begin, at most 64 long."""
    return re.sub(r"[^A-Z0-9]", "_", text.upper()).lstrip("_0123456789")[:64]
