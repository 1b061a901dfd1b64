"""The cluster's own record: settings, root CA, join tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pyswarm.model.meta import Meta
from pyswarm.model.registry import ImagePolicy

DEFAULT_POOLS: Final = ("10.0.0.0/8",)
DEFAULT_SUBNET_BITS: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalCA:
    """Somebody else who signs with the key of the root `certificate_pem`, by CFSSL's protocol."""

    url: str = ""
    certificate_pem: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """What an operator may change while the cluster runs.

    A node is down after `heartbeat_misses` periods without a beat: too small, and a busy machine
    loses its tasks; too large, and a dead one keeps them.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    task_history_limit: int = 5
    heartbeat_period_seconds: float = 1.0
    heartbeat_misses: int = 3
    certificate_life_seconds: float = 90 * 24 * 3600.0
    snapshot_interval_entries: int = 10_000
    autolock: bool = False
    """Managers' keys are sealed with the unlock key, and a restarted manager asks for it."""
    external_cas: tuple[ExternalCA, ...] = ()
    images: ImagePolicy = ImagePolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class RootRotation:
    """The root that is to follow, and its certificate signed by the root of now. `key_pem` is
    empty where an external CA has it."""

    certificate_pem: bytes = b""
    key_pem: bytes = field(default=b"", repr=False)
    digest: str = ""
    cross_signed_pem: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootCA:
    """The certificate authority; `key_pem` lives only in the managers' sealed state, and is empty
    where an external CA has it."""

    certificate_pem: bytes = b""
    key_pem: bytes = field(default=b"", repr=False)
    digest: str = ""
    worker_token: str = field(default="", repr=False)
    manager_token: str = field(default="", repr=False)
    rotation: RootRotation | None = None

    @property
    def trusted_pem(self) -> bytes:
        """All roots that count now; the last one signs."""
        return self.certificate_pem + (self.rotation.certificate_pem if self.rotation else b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The one cluster object, named `default`. `removed_nodes` maps the id of each node that was
    removed to the time at which its last certificate ends: until then it is refused by name."""

    id: str = ""
    meta: Meta = Meta()
    spec: ClusterSpec = ClusterSpec()
    root_ca: RootCA = RootCA()
    removed_nodes: Mapping[str, float] = field(default_factory=dict)
    address_pools: tuple[str, ...] = DEFAULT_POOLS
    subnet_bits: int = DEFAULT_SUBNET_BITS
    vxlan_port: int = 4789
    unlock_key: bytes = field(default=b"", repr=False)
    """32 bytes that seal the managers' keys on disk; empty without autolock."""
