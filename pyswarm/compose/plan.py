"""What has to be done so that the swarm has what a stack wants, in order.

Pruned services go first, since they may hold a port that a new one wants; then networks, secrets
and configs come before the services that use them; what nothing uses any more goes last.
Everything that cannot succeed is refused before anything is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from pyswarm.compose.marked import ComposeError
from pyswarm.compose.stack import IMAGE_LABEL, NAMESPACE_LABEL, Stack
from pyswarm.model import (
    Config,
    FileReference,
    Network,
    NetworkSpec,
    PayloadSpec,
    Secret,
    Service,
    ServiceSpec,
)


class Action(IntEnum):
    """What a step does."""

    CREATE = 0
    UPDATE = 1
    REMOVE = 2
    ROTATE = 3


class Kind(IntEnum):
    """What a step does it to."""

    NETWORK = 0
    SECRET = 1
    CONFIG = 2
    SERVICE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call of the control API. `id` is that of the object that was seen, empty for a new one;
    `spec` is None for a removal."""

    action: Action
    kind: Kind
    name: str
    spec: NetworkSpec | PayloadSpec | ServiceSpec | None = None
    id: str = ""

    @property
    def sentence(self) -> str:
        """What the user sees: "Creating service shop_web"."""
        verb = {Action.CREATE: "Creating", Action.REMOVE: "Removing"}
        changed = self.action in (Action.UPDATE, Action.ROTATE)
        suffix = f" (id: {self.id})" if changed else ""
        return f"{verb.get(self.action, 'Updating')} {self.kind.name.lower()} {self.name}{suffix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """Every object of the swarm that a stack can meet, its own and others'.

    The control API never gives a secret's content away: its `data` is empty here.
    """

    networks: tuple[Network, ...] = ()
    secrets: tuple[Secret, ...] = ()
    configs: tuple[Config, ...] = ()
    services: tuple[Service, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps in order, the names of services that stay as they are, and warnings."""

    steps: tuple[Step, ...] = ()
    unchanged: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def plan(wanted: Stack, existing: Existing, *, prune: bool = False) -> Plan:
    """The plan; raises ComposeError for what the swarm cannot do."""
    problems: list[str] = []
    warnings: list[str] = []
    first = _removals(Kind.SERVICE, existing.services, wanted.services, wanted.name, prune)
    steps = [
        *_networks(wanted, existing, problems, warnings),
        *_payloads(Kind.SECRET, wanted, existing, problems),
        *_payloads(Kind.CONFIG, wanted, existing, problems),
    ]
    services, unchanged = _services(wanted, existing, problems)
    last = [
        *_removals(Kind.SECRET, existing.secrets, wanted.secrets, wanted.name, prune),
        *_removals(Kind.CONFIG, existing.configs, wanted.configs, wanted.name, prune),
        *_removals(Kind.NETWORK, existing.networks, wanted.networks, wanted.name, prune),
    ]
    if problems:
        raise ComposeError(*problems)
    return Plan(
        steps=(*first, *steps, *services, *last),
        unchanged=tuple(unchanged),
        warnings=tuple(warnings),
    )


def removal(name: str, existing: Existing) -> Plan:
    """The plan that leaves nothing of the stack."""
    return plan(Stack(name=name), existing, prune=True)


def carried_over(new: ServiceSpec, old: ServiceSpec) -> ServiceSpec:
    """The new spec with what is not the file's to say: forced updates, and the digest and platforms
    that were found for the same image."""
    task = replace(new.task, force_update=old.task.force_update)
    image, pinned = new.task.container.image, old.task.container.image
    same = old.labels.get(IMAGE_LABEL) == new.labels.get(IMAGE_LABEL, image)
    if same and "@" not in image and pinned.startswith(f"{image}@"):
        container = replace(task.container, image=pinned)
        platforms = task.placement.platforms or old.task.placement.platforms
        placement = replace(task.placement, platforms=platforms)
        task = replace(task, container=container, placement=placement)
    return replace(new, task=task)


def _removals(
    kind: Kind,
    existing: Iterable[Network | Secret | Config | Service],
    wanted: Iterable[NetworkSpec | PayloadSpec | ServiceSpec],
    stack: str,
    prune: bool,
) -> list[Step]:
    if not prune:
        return []
    names = {spec.name for spec in wanted}
    gone = sorted(
        (
            item
            for item in existing
            if item.spec.labels.get(NAMESPACE_LABEL) == stack and item.spec.name not in names
            if not (isinstance(item, Service) and item.pending_delete)
        ),
        key=lambda item: item.spec.name,
    )
    return [Step(action=Action.REMOVE, kind=kind, name=item.spec.name, id=item.id) for item in gone]


def _missing(kind: str, wanted: Iterable[str], names: Iterable[str], problems: list[str]) -> None:
    known = set(names)
    problems += [
        f"the {kind} '{name}' is declared external and does not exist: "
        f"make it first with {kind} create"
        for name in wanted
        if name not in known
    ]


def _networks(
    wanted: Stack, existing: Existing, problems: list[str], warnings: list[str]
) -> list[Step]:
    seen = {network.spec.name: network for network in existing.networks}
    _missing("network", wanted.external_networks, seen, problems)
    steps = []
    for spec in wanted.networks:
        old = seen.get(spec.name)
        if not old:
            step = Step(action=Action.CREATE, kind=Kind.NETWORK, name=spec.name, spec=spec)
            steps.append(step)
        elif old.spec.labels.get(NAMESPACE_LABEL) != wanted.name:
            problems.append(_foreign("network", spec.name, wanted.name))
        elif replace(old.spec, driver=spec.driver) != spec:
            warnings.append(
                f"the network {spec.name} stays as it is, since a network cannot change: "
                "remove the stack and deploy it again"
            )
    return steps


def _foreign(kind: str, name: str, stack: str) -> str:
    return (
        f"the {kind} '{name}' exists and does not belong to the stack {stack}: "
        "declare it external, or give it another name"
    )


def _payloads(kind: Kind, wanted: Stack, existing: Existing, problems: list[str]) -> list[Step]:
    word = kind.name.lower()
    items: Iterable[Secret | Config] = existing.configs
    specs, external = wanted.configs, wanted.external_configs
    if kind == Kind.SECRET:
        items, specs, external = existing.secrets, wanted.secrets, wanted.external_secrets
    seen = {item.spec.name: item for item in items}
    _missing(word, external, seen, problems)
    steps = []
    for spec in specs:
        old = seen.get(spec.name)
        if not old:
            steps.append(Step(action=Action.CREATE, kind=kind, name=spec.name, spec=spec))
        elif old.spec.labels.get(NAMESPACE_LABEL) != wanted.name:
            problems.append(_foreign(word, spec.name, wanted.name))
        # Where the content is withheld, only a manager can compare, and rotates where it differs.
        elif old.spec != spec:
            steps.append(
                Step(action=Action.ROTATE, kind=kind, name=spec.name, spec=spec, id=old.id)
            )
    return steps


def _services(
    wanted: Stack, existing: Existing, problems: list[str]
) -> tuple[list[Step], list[str]]:
    seen = {service.spec.name: service for service in existing.services}
    names = {network.id: network.spec.name for network in existing.networks}
    steps, unchanged = [], []
    for spec in wanted.services:
        old = seen.get(spec.name)
        if not old:
            steps.append(Step(action=Action.CREATE, kind=Kind.SERVICE, name=spec.name, spec=spec))
            continue
        if old.spec.labels.get(NAMESPACE_LABEL) != wanted.name:
            problems.append(_foreign("service", spec.name, wanted.name))
            continue
        if old.pending_delete:
            problems.append(f"the service {spec.name} is still being removed: deploy again later")
            continue
        if old.spec.mode != spec.mode:
            problems.append(
                f"the service {spec.name} is {old.spec.mode.word} and cannot become "
                f"{spec.mode.word}: remove it first with service rm {spec.name}"
            )
            continue
        new = carried_over(spec, old.spec)
        if _by_name(old.spec, names) == _by_name(new, names):
            unchanged.append(spec.name)
            continue
        steps.append(
            Step(action=Action.UPDATE, kind=Kind.SERVICE, name=spec.name, spec=new, id=old.id)
        )
    return steps, unchanged


def _by_name(spec: ServiceSpec, networks: Mapping[str, str]) -> ServiceSpec:
    """The spec with names in place of the ids that the managers write."""

    def plain(references: tuple[FileReference, ...]) -> tuple[FileReference, ...]:
        return tuple(sorted((replace(r, id="") for r in references), key=lambda r: r.target))

    attachments = sorted(
        (replace(a, target=networks.get(a.target, a.target)) for a in spec.task.networks),
        key=lambda a: a.target,
    )
    container = spec.task.container
    container = replace(
        container, secrets=plain(container.secrets), configs=plain(container.configs)
    )
    task = replace(spec.task, container=container, networks=tuple(attachments))
    return replace(spec, task=task)
