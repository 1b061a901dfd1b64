"""`--mount`: `type=volume,source=data,target=/data[,readonly]`, as in Docker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from pyswarm.cli.pairs import key_values, split_fields
from pyswarm.compose.values import size_bytes
from pyswarm.errors import InvalidArgument
from pyswarm.model import Mount, MountRecursion, MountType
from pyswarm.model.kernel import PROPAGATIONS

Value = TypeVar("Value")

_BOTH: Final = {
    *("type", "source", "src", "target", "dst", "destination", "readonly", "ro", "consistency"),
}
_OPTIONS: Final = {
    *("bind-propagation", "bind-recursive", "bind-nonrecursive", "tmpfs-size", "tmpfs-mode"),
    *("volume-nocopy", "volume-label", "volume-driver", "volume-opt"),
}
_REPEATED: Final = {"volume-label", "volume-opt"}
_NOT_HERE: Final = {
    "npipe": "is for Windows",
    "cluster": "needs a volume plugin, which is not available in this version",
    "image": "is not available in this version",
}
_TRUE: Final = {"true": True, "1": True, "false": False, "0": False}


def mount(text: str) -> Mount:
    """The mount that a flag's value describes; raises InvalidArgument."""
    fields = split_fields(text, _BOTH | _OPTIONS, "mount", _REPEATED)
    kind = _kind(_one(fields, "type") or "volume")
    _check_options(fields, kind)
    target, source = _one(fields, "target", "dst", "destination"), _one(fields, "source", "src")
    if not target:
        raise InvalidArgument("target is required")
    if kind is MountType.BIND and not source:
        raise InvalidArgument("source is required for a bind: name the host's path")
    if kind is MountType.TMPFS and source:
        raise InvalidArgument("cannot specify source for a mount of type tmpfs")
    read_only = _flag(fields, "readonly", "ro")
    return Mount(
        type=kind,
        source=source,
        target=target,
        read_only=read_only,
        propagation=_propagation(fields),
        recursion=_recursion(fields, read_only),
        no_copy=_flag(fields, "volume-nocopy"),
        labels=dict(key_values(pair) for pair in fields.get("volume-label", ())),
        driver=_one(fields, "volume-driver"),
        driver_options=dict(key_values(pair) for pair in fields.get("volume-opt", ())),
        tmpfs_size_bytes=_read(fields, "tmpfs-size", size_bytes, 0),
        tmpfs_mode=_read(fields, "tmpfs-mode", _mode, 0),
    )


def _kind(word: str) -> MountType:
    if word in _NOT_HERE:
        raise InvalidArgument(f"a mount of type {word} {_NOT_HERE[word]}")
    if word.upper() not in MountType.__members__:
        raise InvalidArgument(f"invalid mount type '{word}', use bind, volume or tmpfs")
    return MountType[word.upper()]


def _check_options(fields: Mapping[str, list[str]], kind: MountType) -> None:
    for name in fields:
        prefix = name.partition("-")[0]
        if name in _OPTIONS and prefix != kind.name.lower():
            raise InvalidArgument(
                f"cannot mix '{prefix}-*' options with mount type '{kind.name.lower()}'"
            )


def _one(fields: Mapping[str, list[str]], *names: str) -> str:
    found = [name for name in names if name in fields]
    if len(found) > 1:
        raise InvalidArgument(f"{found[0]} and {found[1]} say the same: write one of them")
    return fields[found[0]][0] if found else ""


def _read(
    fields: Mapping[str, list[str]], name: str, read: Callable[[str], Value], default: Value
) -> Value:
    if name not in fields:
        return default
    try:
        return read(fields[name][0])
    except ValueError:
        raise InvalidArgument(f"invalid value for {name}: {fields[name][0]}") from None


def _flag(fields: Mapping[str, list[str]], *names: str) -> bool:
    word = _one(fields, *names)
    if word and word.lower() not in _TRUE:
        raise InvalidArgument(f"invalid value for {names[0]}: {word}, use true or false")
    return _TRUE.get(word.lower(), False)


def _mode(text: str) -> int:
    mode = int(text, 8)
    if not 0 <= mode <= 0o7777:
        raise ValueError(text)
    return mode


def _propagation(fields: Mapping[str, list[str]]) -> str:
    word = _one(fields, "bind-propagation")
    if word and word not in PROPAGATIONS:
        raise InvalidArgument(
            f"invalid value for bind-propagation: {word}, use one of {', '.join(PROPAGATIONS)}"
        )
    return word


def _recursion(fields: Mapping[str, list[str]], read_only: bool) -> MountRecursion:
    word = _one(fields, "bind-recursive") or "enabled"
    if word.upper() not in MountRecursion.__members__:
        known = ", ".join(name.lower() for name in MountRecursion.__members__)
        raise InvalidArgument(f"invalid value for bind-recursive: {word}, use one of {known}")
    recursion = MountRecursion[word.upper()]
    if _flag(fields, "bind-nonrecursive"):
        if recursion is not MountRecursion.ENABLED:
            raise InvalidArgument("bind-nonrecursive and bind-recursive say different things")
        recursion = MountRecursion.DISABLED
    if recursion in (MountRecursion.WRITABLE, MountRecursion.READONLY) and not read_only:
        raise InvalidArgument(f"bind-recursive={word} requires readonly to be specified too")
    if recursion is MountRecursion.READONLY and _propagation(fields) not in ("", "rprivate"):
        raise InvalidArgument("bind-recursive=readonly requires bind-propagation=rprivate")
    return recursion
