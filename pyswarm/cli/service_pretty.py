"""`service inspect --pretty`, in the words and the layout of Docker's command line. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pyswarm.cli.jsonview import timestamp
from pyswarm.cli.listings import image_name
from pyswarm.cli.render import clean
from pyswarm.model import (
    ContainerSpec,
    EndpointSpec,
    PortConfig,
    Resources,
    Service,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
    UpdateState,
    UpdateStatus,
)


def go_duration(seconds: float) -> str:
    """A duration as Go prints it: "10m0s", "1.5s", "250ms"."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{round(rest, 6):g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def service_text(service: Service) -> str:
    """One service, a fact in each line."""
    spec = service.spec
    lines = [f"ID:\t\t{service.id}", f"Name:\t\t{spec.name}"]
    if spec.labels:
        lines += ["Labels:", *(f" {key}={spec.labels[key]}" for key in sorted(spec.labels))]
    lines += [
        *_mode(spec),
        *_status(service.update_status, service.revision),
        *_placement(spec.task),
        *_policy("Update", spec.update),
        *_policy("Rollback", spec.rollback),
        *_container(spec.task.container),
        *_resources(spec.task),
    ]
    if spec.task.networks:
        lines.append(f"Networks: {' '.join(a.target for a in spec.task.networks)}")
    lines += _endpoint(spec.endpoint, service.endpoint.ports or spec.endpoint.ports)
    return "\n".join(_visible(line) for line in lines) + "\n"


def _visible(line: str) -> str:
    label, tab, text = line.partition("\t")
    return f"{clean(label)}{tab}{text[: len(text) - len(text.lstrip())]}{clean(text.lstrip())}"


def _mode(spec: ServiceSpec) -> Iterator[str]:
    words = " ".join(word.capitalize() for word in spec.mode.word.split("-"))
    yield f"Service Mode:\t{words}"
    if not spec.mode.is_global:
        yield f" Replicas:\t{spec.replicas}"


def _status(status: UpdateStatus, revision: int) -> Iterator[str]:
    if status.state != UpdateState.NONE:
        yield "UpdateStatus:"
        yield f" State:\t\t{status.state.name.lower()}"
        yield f" Started:\t{timestamp(status.started_at)}"
        if status.completed_at:
            yield f" Completed:\t{timestamp(status.completed_at)}"
        yield f" Message:\t{status.message}"
    if revision:
        yield f"Revision:\t{revision}"


def _placement(task: TaskSpec) -> Iterator[str]:
    placement = task.placement
    yield "Placement:"
    if placement.constraints:
        yield f" Constraints:\t[{' '.join(placement.constraints)}]"
    if placement.spread:
        yield f" Preferences:\t[{' '.join(f'spread={each}' for each in placement.spread)}]"
    if placement.max_replicas:
        yield f" Max Replicas Per Node:\t{placement.max_replicas}"


def _policy(word: str, config: UpdateConfig) -> Iterator[str]:
    yield f"{word}Config:"
    yield f" Parallelism:\t{config.parallelism}"
    if config.delay_seconds:
        yield f" Delay:\t\t{go_duration(config.delay_seconds)}"
    yield f" On failure:\t{config.failure_action.name.lower()}"
    yield f" Monitoring Period: {go_duration(config.monitor_seconds)}"
    yield f" Max failure ratio: {config.max_failure_ratio:g}"
    yield f" {word} order:      {config.order.name.lower().replace('_', '-')}"
    yield f" Progress deadline: {go_duration(config.deadline_seconds)}"


def _container(container: ContainerSpec) -> Iterator[str]:
    yield "ContainerSpec:"
    yield f" Image:\t\t{image_name(container.image)}"
    if container.command:
        yield f" Command:\t{' '.join(container.command)}"
    if container.args:
        yield f" Args:\t\t{' '.join(container.args)}"
    if container.env:
        yield f" Env:\t\t{' '.join(container.env)}"
    if container.workdir:
        yield f" Dir:\t\t{container.workdir}"
    if container.user:
        yield f" User:\t\t{container.user}"
    if container.mounts:
        yield "Mounts:"
    for mount in container.mounts:
        yield f" Target:\t{mount.target}"
        yield f"  Source:\t{mount.source}"
        yield f"  ReadOnly:\t{str(mount.read_only).lower()}"
        yield f"  Type:\t\t{mount.type.name.lower()}"
    for word, references in (("Secrets", container.secrets), ("Configs", container.configs)):
        if references:
            yield f"{word}:"
        for reference in references:
            yield f" Target:\t{reference.target or reference.name}"
            yield f"  Source:\t{reference.name}"


def _resources(task: TaskSpec) -> Iterator[str]:
    yield "Resources:"
    parts = (("Reservations", task.resources.reservations), ("Limits", task.resources.limits))
    for word, amount in parts:
        if amount != Resources():
            yield f" {word}:"
            if amount.nano_cpus:
                yield f"  CPU:\t\t{amount.nano_cpus / 1e9:g}"
            if amount.memory_bytes:
                yield f"  Memory:\t{amount.memory_bytes / 1024**2:g}MiB"
            if amount.pids:
                yield f"  PIDs:\t\t{amount.pids}"


def _endpoint(spec: EndpointSpec, ports: tuple[PortConfig, ...]) -> Iterator[str]:
    yield f"Endpoint Mode:\t{spec.mode.name.lower()}"
    if ports:
        yield "Ports:"
    for port in ports:
        yield f" PublishedPort = {port.published_port}"
        yield f"  Protocol = {port.protocol.name.lower()}"
        yield f"  TargetPort = {port.target_port}"
        yield f"  PublishMode = {port.publish_mode.name.lower()}"
