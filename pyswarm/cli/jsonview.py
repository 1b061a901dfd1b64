"""Records as JSON in Docker's spelling: `created_at` is `CreatedAt`, an enum is its word. Pure."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from pyswarm.model import UpdateState

_WHOLE = {
    "id": "ID",
    "env": "Env",
    "dns_nameservers": "DNSNameservers",
    "vni": "VNI",
    "pid": "PID",
    "root_ca": "RootCA",
    "virtual_ips": "VirtualIPs",
    "nano_cpus": "NanoCPUs",
    "init": "Init",
    "os": "OS",
    "uid": "UID",
    "gid": "GID",
    "tls_status": "TLSStatus",
}
_TIMES = {
    "created_at",
    "updated_at",
    "started_at",
    "completed_at",
    "timestamp",
    "start_after",
    "last_execution",
    "certificates_end_at",
    "silent_since",
    "progressed_at",
}


def field_name(name: str) -> str:
    """`network_id` -> `NetworkID`."""
    if name in _WHOLE:
        return _WHOLE[name]
    words = name.split("_")
    return "".join("ID" if word == "id" else word.capitalize() for word in words)


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339, empty for 0."""
    if not seconds:
        return ""
    return (
        datetime.fromtimestamp(seconds, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def to_json(value: Any, name: str = "") -> Any:
    """A record as plain JSON values. Bytes are base64; labels keep their keys."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field_name(f.name): to_json(getattr(value, f.name), f.name) for f in fields}
    if isinstance(value, UpdateState):
        return value.name.lower()
    if isinstance(value, IntEnum):
        return value.name.lower().replace("_", "-")
    if isinstance(value, Mapping):
        return {str(key): to_json(value[key]) for key in sorted(value)}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if name in _TIMES:
        return timestamp(value)
    return value


def shown(record: Any) -> Any:
    """A record as `inspect` shows it; it may be JSON already, as a `dict`."""
    return record if isinstance(record, dict) else to_json(record)


def inspect_text(records: Sequence[Any]) -> str:
    """What `inspect` prints: a JSON array."""
    return json.dumps([shown(record) for record in records], indent=4)
