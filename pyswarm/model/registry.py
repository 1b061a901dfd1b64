"""Logins for registries, as objects of the cluster."""

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
