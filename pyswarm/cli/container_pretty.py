"""The container of `service inspect --pretty`, in the order and spelling of Docker. Pure.

A setting that nobody made is left out, where Docker leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from pyswarm.cli.listings import image_name
from pyswarm.cli.render import go_duration, human_size
from pyswarm.model import (
    ContainerSpec,
    FileReference,
    Healthcheck,
    Mount,
    ResourceRequirements,
    Resources,
    TaskSpec,
)

Lines = Iterator[str]

_GRACE_SECONDS: Final = ContainerSpec().stop_grace_period_seconds


def container_text(task: TaskSpec) -> Lines:
    """What the task's container is, where its output goes, and what it may use."""
    yield from _block("ContainerSpec", _container(task.container))
    yield from _block("Log Driver", _log_driver(task))
    yield "Resources:"
    yield from (f" {line}" for line in _resources(task.resources))


def health_text(check: Healthcheck | None) -> Lines:
    """The health check, where there is one."""
    if check is not None:
        yield from _block("Healthcheck", _health(check))


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


def _container(container: ContainerSpec) -> Lines:
    yield from _field("Image", image_name(container.image))
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
    if container.stop_grace_period_seconds != _GRACE_SECONDS:
        yield f"StopGracePeriod:\t{go_duration(container.stop_grace_period_seconds)}"
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
    yield f" Type:\t{mount.type.name.lower()}"
    if mount.propagation:
        yield f" Propagation:\t{mount.propagation}"
    if mount.recursion:
        yield f" Recursive:\t{mount.recursion.name.lower()}"
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


def _health(check: Healthcheck) -> Lines:
    yield from _field("Test", " ".join(check.test))
    if check.interval_seconds:
        yield f"Interval:\t{go_duration(check.interval_seconds)}"
    if check.timeout_seconds:
        yield f"Timeout:\t{go_duration(check.timeout_seconds)}"
    if check.start_period_seconds:
        yield f"StartPeriod:\t{go_duration(check.start_period_seconds)}"
    if check.start_interval_seconds:
        yield f"StartInterval:\t{go_duration(check.start_interval_seconds)}"
    if check.retries:
        yield f"Retries:\t{check.retries}"
