"""`service inspect --pretty`: a service in words, in the order and spelling of Docker. Pure.

A setting that nobody made is left out, where Docker leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum

from pyswarm.cli.jsonview import timestamp
from pyswarm.cli.render import clean, human_size
from pyswarm.model import (
    ContainerSpec,
    EndpointSpec,
    FileReference,
    Healthcheck,
    Mount,
    PortConfig,
    ResourceRequirements,
    Resources,
    Service,
    ServiceMode,
    TaskSpec,
    UpdateConfig,
)

Lines = Iterator[str]


def service_text(service: Service, network_names: Mapping[str, str]) -> str:
    """The service as text; `network_names` maps ids, and what it lacks is shown as its id."""
    return "\n".join(clean_line(line) for line in _service(service, network_names))


def clean_line(line: str) -> str:
    """The line with its tabs, and without what would move the cursor."""
    return "\t".join(clean(part) for part in line.split("\t"))


def _word(value: IntEnum) -> str:
    return value.name.lower().replace("_", "-")


def _seconds(value: float) -> str:
    """`90` as 1m30s, in Go's words."""
    if 0 < value < 1:
        return f"{value * 1000:g}ms"
    hours, rest = divmod(value, 3600)
    minutes, seconds = divmod(rest, 60)
    text = f"{hours:g}h" if hours else ""
    text += f"{minutes:g}m" if hours or minutes else ""
    return f"{text}{round(seconds, 3):g}s"


def _field(name: str, value: object) -> Lines:
    if value:
        # A tab stop is eight wide, and values begin at the second.
        yield f"{name}:{chr(9) * (2 if len(name) < 7 else 1)}{value}"


def _block(title: str, lines: Iterable[str]) -> Lines:
    """Lines under a title, one space in; nothing where there are none."""
    inside = [f" {line}" for line in lines]
    if inside:
        yield f"{title}:"
        yield from inside


def _pairs(values: Mapping[str, str]) -> Lines:
    for key in sorted(values):
        yield f"{key}={values[key]}" if values[key] else key


def _list(title: str, values: Iterable[str]) -> Lines:
    yield from _field(title, " ".join(values))


def _service(service: Service, network_names: Mapping[str, str]) -> Lines:
    spec = service.spec
    yield from _field("ID", service.id)
    yield from _field("Name", spec.name)
    yield from _block("Labels", _pairs(spec.labels))
    yield f"Service Mode:\t{spec.mode.name.replace('_', ' ').title()}"
    if spec.mode is ServiceMode.REPLICATED:
        yield f" Replicas:\t{spec.replicas}"
    if service.update_status.state:
        yield from _block("UpdateStatus", _update_status(service))
    yield from _block("Placement", _placement(spec.task))
    yield from _block("UpdateConfig", _update(spec.update, "Update"))
    yield from _block("RollbackConfig", _update(spec.rollback, "Rollback"))
    yield from _block("ContainerSpec", _container(spec.task.container))
    yield from _block("Log Driver", _log_driver(spec.task))
    yield from _block("Resources", _resources(spec.task.resources))
    networks = [network_names.get(n.target, n.target) for n in spec.task.networks]
    yield from _list("Networks", networks)
    yield from _endpoint(spec.endpoint, service.endpoint.ports)
    if spec.task.container.healthcheck is not None:
        yield from _block("Healthcheck", _health(spec.task.container.healthcheck))


def _update_status(service: Service) -> Lines:
    status = service.update_status
    yield from _field("State", _word(status.state))
    yield from _field("Started", timestamp(status.started_at))
    yield from _field("Completed", timestamp(status.completed_at))
    yield from _field("Message", status.message)


def _placement(task: TaskSpec) -> Lines:
    placement = task.placement
    if placement.constraints:
        yield f"Constraints:\t[{' '.join(placement.constraints)}]"
    yield from _list("Preferences", (f"spread={each}" for each in placement.spread))
    yield from _field("Max Replicas Per Node", placement.max_replicas)


def _update(config: UpdateConfig, what: str) -> Lines:
    yield f"Parallelism:\t{config.parallelism}"
    if config.delay_seconds:
        yield f"Delay:\t\t{_seconds(config.delay_seconds)}"
    yield f"On failure:\t{_word(config.failure_action)}"
    if config.monitor_seconds:
        yield f"Monitoring Period: {_seconds(config.monitor_seconds)}"
    yield f"Max failure ratio: {config.max_failure_ratio:g}"
    yield f"{what + ' order:':<18} {_word(config.order)}"


def _container(container: ContainerSpec) -> Lines:
    yield from _field("Image", container.image)
    yield from _list("Command", container.command)
    yield from _list("Args", container.args)
    yield from _field("Hostname", container.hostname)
    yield f"Init:\t\t{str(container.init).lower()}"
    yield from _list("Env", container.env)
    yield from _block("Labels", _pairs(container.labels))
    yield from _field("Dir", container.workdir)
    yield from _field("User", container.user)
    yield from _list("Groups", container.groups)
    yield from _field("TTY", "true" if container.tty else "")
    yield from _field("ReadOnly", "true" if container.read_only else "")
    yield from _field("StopSignal", container.stop_signal)
    yield f"StopGracePeriod:\t{_seconds(container.stop_grace_period_seconds)}"
    yield from _field("OomScoreAdj", container.oom_score_adj)
    yield from _block("Mounts", (line for mount in container.mounts for line in _mount(mount)))
    yield from _block("Configs", _files(container.configs))
    yield from _block("Secrets", _files(container.secrets))
    yield from _list("CapabilityAdd", container.capability_add)
    yield from _list("CapabilityDrop", container.capability_drop)
    yield from _block("Ulimits", (f"{u.name}={u.soft}:{u.hard}" for u in container.ulimits))
    yield from _block("Sysctls", _pairs(container.sysctls))
    yield from _block("Hosts", container.hosts)
    yield from _list("DNS Nameservers", container.dns_nameservers)
    yield from _list("DNS Search", container.dns_search)
    yield from _list("DNS Options", container.dns_options)
    yield from _field("NoNewPrivileges", "true" if container.no_new_privileges else "")


def _mount(mount: Mount) -> Lines:
    yield f"Target:\t{mount.target}"
    yield from _field(" Source", mount.source)
    yield f" ReadOnly:\t{str(mount.read_only).lower()}"
    yield f" Type:\t{_word(mount.type)}"
    if mount.propagation:
        yield f" Propagation:\t{mount.propagation}"
    if mount.recursion:
        yield f" Recursive:\t{_word(mount.recursion)}"
    if mount.tmpfs_size_bytes:
        yield f" Size:\t{human_size(mount.tmpfs_size_bytes)}"
    if mount.tmpfs_mode:
        yield f" Mode:\t{mount.tmpfs_mode:04o}"


def _files(references: Iterable[FileReference]) -> Lines:
    for reference in references:
        yield f"Target:\t{reference.target}"
        yield f" Source:\t{reference.name}"


def _log_driver(task: TaskSpec) -> Lines:
    yield from _field("Name", task.log_driver)
    yield from _block("LogOpts", _pairs(task.log_options))


def _resources(needs: ResourceRequirements) -> Lines:
    yield from _block("Reservations", _amount(needs.reservations))
    yield from _block("Limits", _amount(needs.limits))
    swap = needs.memory_swap
    if swap is not None:
        yield f"Swap:\t\t{'unlimited' if swap.swap_bytes < 0 else human_size(swap.swap_bytes)}"
        if swap.swappiness >= 0:
            yield f"Swappiness:\t{swap.swappiness}"


def _amount(amount: Resources) -> Lines:
    if amount.nano_cpus:
        yield f"CPU:\t\t{amount.nano_cpus / 1e9:g}"
    if amount.memory_bytes:
        yield f"Memory:\t{human_size(amount.memory_bytes)}"
    if amount.pids:
        yield f"PIDs:\t\t{amount.pids}"


def _endpoint(endpoint: EndpointSpec, given: tuple[PortConfig, ...]) -> Lines:
    yield f"Endpoint Mode:\t{_word(endpoint.mode)}"
    yield from _block("Ports", (line for p in given or endpoint.ports for line in _port(p)))


def _port(port: PortConfig) -> Lines:
    yield f"PublishedPort = {port.published_port}"
    yield f" Protocol = {_word(port.protocol)}"
    yield f" TargetPort = {port.target_port}"
    yield f" PublishMode = {_word(port.publish_mode)}"


def _health(check: Healthcheck) -> Lines:
    yield from _field("Test", " ".join(check.test))
    if check.interval_seconds:
        yield f"Interval:\t{_seconds(check.interval_seconds)}"
    if check.timeout_seconds:
        yield f"Timeout:\t{_seconds(check.timeout_seconds)}"
    if check.start_period_seconds:
        yield f"StartPeriod:\t{_seconds(check.start_period_seconds)}"
    if check.retries:
        yield f"Retries:\t{check.retries}"
