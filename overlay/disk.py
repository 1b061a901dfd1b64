"""What the overlay remembers across a restart of its process, as one small JSON file.

Namespaces do not survive a reboot, so the file needs no fsync: what it says is compared with the
namespaces that are there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from overlay.desired import Attached, Head, Leg
from pyswarm.errors import DataLoss
from pyswarm.model import PortConfig, Protocol

FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """`ip_forward` is the host's setting before we came, given back when we leave."""

    local_subnet: str = ""
    ip_forward: str = ""
    heads: Mapping[str, Head] = field(default_factory=dict)
    attached: Mapping[str, Attached] = field(default_factory=dict)


def _port(data: Mapping[str, Any]) -> PortConfig:
    return PortConfig(
        protocol=Protocol(data["protocol"]),
        target_port=data["target_port"],
        published_port=data["published_port"],
    )


def _attached(data: Mapping[str, Any]) -> Attached:
    return Attached(
        task_id=data["task_id"],
        legs=tuple(Leg(**leg) for leg in data["legs"]),
        host_ports=tuple(_port(port) for port in data["host_ports"]),
        nameservers=tuple(data.get("nameservers", ())),
    )


class MemoryFile:
    """The file; written whole, through a second one that takes its place."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "overlay.json"

    def load(self) -> Memory:
        """What was remembered, or nothing; raises DataLoss where it cannot be read."""
        try:
            data = json.loads(self._path.read_text())
            if data.pop("format") != FORMAT:
                return Memory()
            return Memory(
                local_subnet=data["local_subnet"],
                ip_forward=data["ip_forward"],
                heads={key: Head(**head) for key, head in data["heads"].items()},
                attached={task["task_id"]: _attached(task) for task in data["attached"]},
            )
        except FileNotFoundError:
            return Memory()
        except (ValueError, TypeError, KeyError) as error:
            raise DataLoss(
                f"{self._path} cannot be read ({error}): remove it and restart this node"
            ) from None

    def save(self, memory: Memory) -> None:
        """Remember; raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        data = {
            "format": FORMAT,
            "local_subnet": memory.local_subnet,
            "ip_forward": memory.ip_forward,
            "heads": {key: asdict(head) for key, head in sorted(memory.heads.items())},
            "attached": [asdict(memory.attached[key]) for key in sorted(memory.attached)],
        }
        second = self._path.with_suffix(".new")
        second.write_text(json.dumps(data))
        os.replace(second, self._path)

    def remove(self) -> None:
        """Forget everything."""
        self._path.unlink(missing_ok=True)
