"""Which images of a stack are looked up at their registries, and what follows from the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from pyswarm.compose.plan import Existing
from pyswarm.compose.stack import IMAGE_LABEL, Stack
from pyswarm.errors import InvalidArgument
from pyswarm.model import Platform, ServiceSpec
from pyswarm.registry.reference import with_tag

MODES: Final = ("always", "changed", "never")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What the leader says of an image: its name with digest, or a problem."""

    image: str
    platforms: tuple[Platform, ...] = ()
    problem: str = ""


def pinned_spec(spec: ServiceSpec, pin: Pin) -> ServiceSpec:
    """The service with the image as it is to be stored. Without an answer its platforms are not
    known, and those of another image must not stay."""
    container = replace(spec.task.container, image=pin.image)
    placement = replace(spec.task.placement, platforms=pin.platforms)
    return replace(spec, task=replace(spec.task, container=container, placement=placement))


def unanswered(pin: Pin) -> str:
    """Docker's warning, word for word, and the reason that Docker keeps to itself."""
    return (
        f"image {pin.image} could not be accessed on a registry to record\n"
        f"its digest. Each node will access {pin.image} independently,\n"
        "possibly leading to different nodes running different\n"
        f"versions of the image.\n({pin.problem})"
    )


def tagged(stack: Stack) -> Stack:
    """The stack with `:latest` behind each image that has neither tag nor digest."""
    return replace(stack, services=tuple(_tagged(spec) for spec in stack.services))


def _tagged(spec: ServiceSpec) -> ServiceSpec:
    try:
        image = with_tag(spec.task.container.image)
    except InvalidArgument as error:
        raise InvalidArgument(f"service {spec.name}: {error.message}") from error
    container = replace(spec.task.container, image=image)
    return replace(spec, task=replace(spec.task, container=container))


def to_look_up(wanted: Stack, existing: Existing, mode: str) -> tuple[ServiceSpec, ...]:
    """The services whose images are looked up: all, those that are new or name another image than
    before, or none."""
    if mode == "never":
        return ()
    before = {service.spec.name: service.spec for service in existing.services}
    return tuple(spec for spec in wanted.services if mode == "always" or not _same(before, spec))


def _same(before: Mapping[str, ServiceSpec], spec: ServiceSpec) -> bool:
    old = before.get(spec.name)
    return old is not None and old.labels.get(IMAGE_LABEL) == spec.labels.get(IMAGE_LABEL)


def with_pins(
    wanted: Stack, existing: Existing, pins: Mapping[str, Pin]
) -> tuple[Stack, tuple[str, ...]]:
    """The stack with what was found for its services, by name, and a warning for each image of
    which nothing was. A service whose image is the same as before keeps the digest it has."""
    before = {service.spec.name: service.spec for service in existing.services}
    services, warnings = [], []
    for spec in wanted.services:
        pin = pins.get(spec.name)
        if pin is not None and pin.problem and _same(before, spec) and _has_digest(before, spec):
            warnings.append(
                f"image {pin.image} could not be accessed on a registry: service {spec.name} "
                f"stays at the version that it has ({pin.problem})"
            )
        elif pin is not None:
            warnings += [unanswered(pin)] if pin.problem else []
            asked = spec.task.placement.platforms  # `platform:` in the file is the user's word
            spec = pinned_spec(spec, replace(pin, platforms=asked or pin.platforms))
        services.append(spec)
    return replace(wanted, services=tuple(services)), tuple(dict.fromkeys(warnings))


def _has_digest(before: Mapping[str, ServiceSpec], spec: ServiceSpec) -> bool:
    return "@" in before[spec.name].task.container.image
