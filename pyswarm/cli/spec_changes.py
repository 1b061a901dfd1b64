"""What has changed from one specification to the next, in words. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any, Final

from pyswarm.cli.render import go_duration
from pyswarm.model import ServiceSpec

VALUE_LENGTH_MAX: Final = 60

_INNER: Final = frozenset({"task", "container", "endpoint", "resources"})
"""Parts whose name says nothing that the names in them do not say."""


def changes(old: ServiceSpec, new: ServiceSpec) -> list[str]:
    """Such as "image: nginx:1 -> nginx:2", "env: +A=2 -A=1", "forced"; empty where nothing is."""
    return list(_differences("", old, new))


def summary(spec: ServiceSpec) -> str:
    """A specification of which there is none before."""
    return f"image: {spec.task.container.image}"


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:
    if old == new:
        return
    if dataclasses.is_dataclass(new) and type(old) is type(new):
        for field in dataclasses.fields(new):
            before, after = getattr(old, field.name), getattr(new, field.name)
            if field.name.endswith("_seconds"):
                before, after = _duration(before), _duration(after)
            yield from _differences(_joined(path, field.name), before, after)
    elif path == "force_update":
        yield "forced"
    elif isinstance(new, tuple | Mapping):
        added, removed = _items(new, old), _items(old, new)
        signs = [f"+{text}" for text in added] + [f"-{text}" for text in removed]
        yield f"{path}: {_cut(' '.join(signs) or 'order')}"
    else:
        yield f"{path}: {_cut(_text(old))} -> {_cut(_text(new))}"


def _joined(path: str, name: str) -> str:
    if name in _INNER:
        return path
    if name == "force_update":
        return name
    return f"{path} {name.removesuffix('_seconds').replace('_', ' ')}".strip()


def _duration(seconds: float | None) -> str | None:
    return None if seconds is None else go_duration(seconds)


def _items(these: Any, without: Any) -> list[str]:
    if isinstance(these, Mapping):
        return [f"{k}={v}" for k, v in sorted(these.items()) if (k, v) not in without.items()]
    return [_text(item) for item in these if item not in without]


def _text(value: Any) -> str:
    if isinstance(value, IntEnum):
        return value.name.lower().replace("_", "-")
    if value is None or value == "":
        return "none"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        values = (getattr(value, field.name) for field in dataclasses.fields(value))
        return ":".join(_text(v) for v in values if v not in ("", 0, None, ()))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_LENGTH_MAX else text[: VALUE_LENGTH_MAX - 3] + "..."
