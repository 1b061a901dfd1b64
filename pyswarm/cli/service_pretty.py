"""`service inspect --pretty`, in the words and the layout of Docker's command line. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pyswarm.cli.container_pretty import container_text, health_text
from pyswarm.cli.render import ago, clean, go_duration
from pyswarm.model import (
    EndpointSpec,
    PortConfig,
    Service,
    TaskSpec,
    UpdateConfig,
    UpdateState,
    UpdateStatus,
)


def service_text(
    service: Service, network_names: Mapping[str, str] | None = None, *, now: float = 0.0
) -> str:
    """One service, a fact in each line; a network that `network_names` lacks is shown as its id.

    `now` are seconds since the epoch: an update is told with its age.
    """
    spec = service.spec
    lines = [f"ID:\t\t{service.id}", f"Name:\t\t{spec.name}"]
    if spec.labels:
        lines += ["Labels:", *(f" {key}={spec.labels[key]}" for key in sorted(spec.labels))]
    lines += [
        *_mode(service),
        *_status(service.update_status, service.revision, now),
        *_placement(spec.task),
        *_policy("Update", spec.update),
        *_policy("Rollback", spec.rollback),
        *container_text(spec.task),
    ]
    if spec.task.networks:
        known = network_names or {}
        names = (known.get(a.target, a.target) for a in spec.task.networks)
        lines.append(f"Networks: {' '.join(names)}")
    lines += _endpoint(spec.endpoint, service.endpoint.ports or spec.endpoint.ports)
    lines += health_text(spec.task.container.healthcheck)
    return "\n".join(_visible(line) for line in lines) + "\n"


def _visible(line: str) -> str:
    return "\t".join(clean(part) for part in line.split("\t"))


def _mode(service: Service) -> Iterator[str]:
    spec = service.spec
    words = " ".join(word.capitalize() for word in spec.mode.word.split("-"))
    yield f"Service Mode:\t{words}"
    if not spec.mode.is_global:
        word = "Total Completions" if spec.mode.is_job else "Replicas"
        yield f" {word}:\t{spec.replicas}"
    if spec.max_concurrent:
        yield f" Max Concurrent:\t{spec.max_concurrent}"
    if spec.mode.is_job:
        job = service.job_status
        why = f" ({job.message})" if job.message else ""
        yield f" Job State:\t{job.state.name.lower()}{why}"


def _status(status: UpdateStatus, revision: int, now: float) -> Iterator[str]:
    if status.state != UpdateState.NONE:
        yield "UpdateStatus:"
        yield f" State:\t\t{status.state.name.lower()}"
        yield f" Started:\t{ago(status.started_at, now)}"
        if status.completed_at:
            yield f" Completed:\t{ago(status.completed_at, now)}"
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


def _endpoint(spec: EndpointSpec, ports: tuple[PortConfig, ...]) -> Iterator[str]:
    yield f"Endpoint Mode:\t{spec.mode.name.lower()}"
    if ports:
        yield "Ports:"
    for port in ports:
        yield f" PublishedPort = {port.published_port}"
        yield f"  Protocol = {port.protocol.name.lower()}"
        yield f"  TargetPort = {port.target_port}"
        yield f"  PublishMode = {port.publish_mode.name.lower()}"
