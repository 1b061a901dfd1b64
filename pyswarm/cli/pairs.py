"""The small languages of flag values: `key=value`, `source=x,target=y`, `8080:80/tcp`. Pure."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection

from pyswarm.compose.values import size_bytes
from pyswarm.errors import InvalidArgument
from pyswarm.model import FileReference, Follow, Mount, MountType, PortConfig, Protocol, PublishMode

_MOUNT_KEYS = {
    "type",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "bind-propagation",
    "volume-nocopy",
    "volume-driver",
    "volume-opt",
    "volume-label",
    "tmpfs-size",
    "tmpfs-mode",
}
_BARE = {"readonly", "ro", "volume-nocopy"}


def key_values(text: str) -> tuple[str, str]:
    """`key=value`, or `key` with an empty value."""
    key, _, value = text.partition("=")
    if not key:
        raise InvalidArgument(f"'{text}' is not of the form key=value")
    return key, value


def split_fields(
    text: str, known: Collection[str], what: str, repeated: Collection[str] = ()
) -> dict[str, list[str]]:
    """The fields of `a=b,c=d`; a comma inside quotes belongs to its value."""
    fields: dict[str, list[str]] = {}
    for part in next(csv.reader([text]), []):
        key, equals, value = part.partition("=")
        key = key.strip().lower()
        if key not in known or (not equals and key not in _BARE):
            raise InvalidArgument(
                f"{what} '{text}': '{part}' is not known, use {', '.join(sorted(known))}"
            )
        if key in fields and key not in repeated:
            raise InvalidArgument(f"{what} '{text}': {key} stands twice")
        fields.setdefault(key, []).append(value if equals else "true")
    return fields


def file_reference(text: str) -> FileReference:
    """`name`, or `source=name,target=path,uid=0,gid=0,mode=0444`."""
    if "=" not in text:
        return FileReference(name=text, target=text)
    known = {"source", "src", "target", "uid", "gid", "mode", "rotation", "signal"}
    fields = {key: values[0] for key, values in split_fields(text, known, "secret").items()}
    name = fields.get("source", fields.get("src", ""))
    if not name:
        raise InvalidArgument(f"'{text}' needs source=NAME")
    try:
        mode = int(fields.get("mode", "0444"), 8)
    except ValueError as error:
        raise InvalidArgument(f"'{text}': mode must be octal, such as 0440") from error
    return FileReference(
        name=name,
        target=fields.get("target", name),
        uid=fields.get("uid", "0"),
        gid=fields.get("gid", "0"),
        mode=mode,
        follow=_follow(fields.get("rotation", ""), text),
        signal=fields.get("signal", ""),
    )


def _follow(word: str, whole: str) -> Follow:
    words = {"": Follow.AS_ROTATED, **{f.name.lower(): f for f in Follow if f}}
    if word not in words:
        raise InvalidArgument(f"'{whole}': rotation must be update, live or never")
    return words[word]


def mount(text: str) -> Mount:
    """`type=volume,source=data,target=/data[,readonly]`."""
    repeated = {"volume-opt", "volume-label"}
    lists = split_fields(text, _MOUNT_KEYS, "mount", repeated)
    fields = {key: values[0] for key, values in lists.items()}
    kind = fields.get("type", "volume").upper()
    if kind not in MountType.__members__:
        raise InvalidArgument(f"mount '{text}': type must be bind, volume or tmpfs")
    target = fields.get("target", fields.get("dst", fields.get("destination", "")))
    if not target:
        raise InvalidArgument(f"mount '{text}' needs target=PATH")
    return Mount(
        type=MountType[kind],
        source=fields.get("source", fields.get("src", "")),
        target=target,
        read_only=_is_true(fields.get("readonly", fields.get("ro", "false"))),
        propagation=fields.get("bind-propagation", ""),
        no_copy=_is_true(fields.get("volume-nocopy", "false")),
        driver=fields.get("volume-driver", ""),
        driver_options=dict(key_values(each) for each in lists.get("volume-opt", [])),
        labels=dict(key_values(each) for each in lists.get("volume-label", [])),
        tmpfs_size_bytes=_read(size_bytes, fields.get("tmpfs-size", "0"), text),
        tmpfs_mode=_read(lambda mode: int(mode, 8), fields.get("tmpfs-mode", "0"), text),
    )


def _read(read: Callable[[str], int], value: str, whole: str) -> int:
    try:
        return read(value)
    except ValueError as error:
        raise InvalidArgument(f"mount '{whole}': '{value}' is not a number") from error


def _is_true(text: str) -> bool:
    return text.lower() in ("true", "1")


def _number(text: str, whole: str) -> int:
    if not text.isdigit() or not 0 <= int(text) < 65536:
        raise InvalidArgument(f"port '{whole}': '{text}' is not a port number")
    return int(text)


def port(text: str) -> PortConfig:
    """`[published:]target[/protocol]`, or `published=8080,target=80,protocol=tcp,mode=host`."""
    if "=" in text:
        known = {"published", "target", "protocol", "mode"}
        fields = {key: values[0] for key, values in split_fields(text, known, "port").items()}
        published, target = fields.get("published", "0"), fields.get("target", "")
        protocol, mode = fields.get("protocol", "tcp"), fields.get("mode", "ingress")
    else:
        ports, _, protocol = text.partition("/")
        published, colon, target = ports.rpartition(":")
        published, protocol, mode = published if colon else "0", protocol or "tcp", "ingress"
    if protocol.upper() not in Protocol.__members__:
        raise InvalidArgument(f"port '{text}': protocol must be tcp, udp or sctp")
    if mode.upper() not in PublishMode.__members__:
        raise InvalidArgument(f"port '{text}': mode must be ingress or host")
    return PortConfig(
        protocol=Protocol[protocol.upper()],
        target_port=_number(target, text),
        published_port=_number(published, text),
        publish_mode=PublishMode[mode.upper()],
    )
