"""Listings of volumes, and of the versions of secrets and configs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyswarm.cli.render import Listing, Row, ago, natural_key
from pyswarm.model import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a secret or config; `created_at` since the epoch, names of services."""

    id: str
    number: int
    created_at: float
    services: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSeen:
    """A volume, the names of services that mount it, and the ids of their tasks that live."""

    volume: Volume
    services: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()


def versions(found: Iterable[Version], now: float) -> Listing:
    """`secret versions` and `config versions`, the newest first."""
    rows = []
    for version in found:
        values = {
            "Version": str(version.number),
            "ID": version.id,
            "CreatedAt": ago(version.created_at, now),
            "Services": ", ".join(version.services),
        }
        rows.append(Row(version.id, tuple(values.values()), values))
    return Listing(("VERSION", "ID", "CREATED", "SERVICES"), tuple(rows))


def volumes(found: Iterable[VolumeSeen], node_names: Mapping[str, str]) -> Listing:
    """`volume ls`."""
    rows = []
    for seen in sorted(found, key=lambda s: natural_key(s.volume.spec.name)):
        spec = seen.volume.spec
        nodes = sorted(node_names.get(n.node_id, n.node_id) for n in seen.volume.nodes)
        values = {
            "Driver": spec.driver or "local",
            "Name": spec.name,
            "Nodes": ", ".join(nodes),
        }
        more: dict[str, str | bool] = {
            "Scope": "swarm",
            "Labels": ",".join(f"{k}={spec.labels[k]}" for k in sorted(spec.labels)),
            "Services": ", ".join(seen.services),
            "Tasks": ", ".join(seen.tasks),
            "Removing": seen.volume.pending_delete,
        }
        cells = list(values.values())
        if seen.volume.pending_delete:
            cells[2] = f"{cells[2]} (being removed)".strip()
        rows.append(Row(spec.name, tuple(cells), values | more))
    return Listing(("DRIVER", "VOLUME NAME", "NODES"), tuple(rows))
