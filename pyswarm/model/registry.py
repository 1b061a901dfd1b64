"""Registries and images: logins as objects of the cluster, and how long images stay."""

from __future__ import annotations

from dataclasses import dataclass, field

from pyswarm.model.meta import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryCredential:
    """Who may pull from a registry. `server` is its host, and port where one is given, as the
    names of its images begin ("docker.io", "registry:5000"). With a `service_id` it counts for
    that service alone, and before one that counts for all. `password` never appears in a repr."""

    id: str = ""
    meta: Meta = Meta()
    server: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    service_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePolicy:
    """When a node removes images that nothing needs: after `max_age_seconds` without use, and the
    longest unused first from `disk_high_percent` of the disk on, down to `disk_low_percent`. An
    image that was used within `grace_seconds` stays: a rollback may want it. 0 is never."""

    max_age_seconds: float = 7 * 24 * 3600.0
    grace_seconds: float = 3600.0
    disk_high_percent: int = 85
    disk_low_percent: int = 75
