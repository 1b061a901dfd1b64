"""The services that make up the API for users: reached over the unix socket of any manager."""

from __future__ import annotations

from typing import Final

from google.protobuf.descriptor import ServiceDescriptor

from pyswarm.api.v1 import (
    control_pb2,
    observe_pb2,
    registry_pb2,
    system_pb2,
    updates_pb2,
    volumes_pb2,
)

CONTROL: Final[ServiceDescriptor] = control_pb2.DESCRIPTOR.services_by_name["Control"]
OBSERVE: Final[ServiceDescriptor] = observe_pb2.DESCRIPTOR.services_by_name["Observe"]

UPDATES: Final[ServiceDescriptor] = updates_pb2.DESCRIPTOR.services_by_name["Updates"]

REGISTRIES: Final[ServiceDescriptor] = registry_pb2.DESCRIPTOR.services_by_name["Registries"]

SYSTEM: Final[ServiceDescriptor] = system_pb2.DESCRIPTOR.services_by_name["System"]

VOLUMES: Final[ServiceDescriptor] = volumes_pb2.DESCRIPTOR.services_by_name["Volumes"]
ROTATION: Final[ServiceDescriptor] = volumes_pb2.DESCRIPTOR.services_by_name["Rotation"]

SERVICES: Final = (CONTROL, OBSERVE, UPDATES, REGISTRIES, SYSTEM, VOLUMES, ROTATION)
"""Each is served by the leader, and passed on to it by the others."""
