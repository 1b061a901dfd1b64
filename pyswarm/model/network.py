"""Networks, addresses pools, ports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from pyswarm.model.meta import Meta


class Protocol(IntEnum):
    """The transport protocol of a port."""

    TCP = 0
    UDP = 1
    SCTP = 2


class PublishMode(IntEnum):
    """INGRESS: on every host, balanced; HOST: on the task's own host, straight to it."""

    INGRESS = 0
    HOST = 1


class ResolutionMode(IntEnum):
    """What a service's name resolves to: one virtual address, or its tasks' addresses."""

    VIP = 0
    DNSRR = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PortConfig:
    """A published port; `published_port` 0 asks for one from 30000 to 32767."""

    name: str = ""
    protocol: Protocol = Protocol.TCP
    target_port: int = 0
    published_port: int = 0
    publish_mode: PublishMode = PublishMode.INGRESS


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkAttachmentConfig:
    """A wish to be in a network; `target` is its name or id."""

    target: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """How a service is reached."""

    mode: ResolutionMode = ResolutionMode.VIP
    ports: tuple[PortConfig, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualIP:
    """A service's address in one network, "10.0.1.2/24"."""

    network_id: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What the allocator gave a service."""

    ports: tuple[PortConfig, ...] = ()
    virtual_ips: tuple[VirtualIP, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """A network that was asked for; empty `subnet` takes the next from the default pools."""

    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    driver: str = "overlay"
    driver_options: Mapping[str, str] = field(default_factory=dict)
    subnet: str = ""
    gateway: str = ""
    internal: bool = False
    attachable: bool = False
    ingress: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network; `subnet`, `gateway` and `vni` are empty or 0 until the allocator fills them."""

    id: str = ""
    meta: Meta = Meta()
    spec: NetworkSpec = NetworkSpec()
    subnet: str = ""
    gateway: str = ""
    vni: int = 0
