"""One service of the merged compose file to its specification."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from pyswarm.compose.container import container_spec, service_networks
from pyswarm.compose.context import Context
from pyswarm.compose.generic import requested
from pyswarm.compose.marked import Marked
from pyswarm.compose.stack import IMAGE_LABEL
from pyswarm.compose.values import (
    duration_seconds,
    nano_cpus,
    on_partition,
    size_bytes,
    swap_bytes,
)
from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    EndpointSpec,
    FailureAction,
    GenericResource,
    MemorySwap,
    Placement,
    Platform,
    PortConfig,
    Protocol,
    PublishMode,
    ResolutionMode,
    ResourceRequirements,
    Resources,
    RestartCondition,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
    UpdateOrder,
)

SERVICE_NAME_LENGTH_MAX: Final = 63

_NAME: Final = re.compile(r"[a-zA-Z0-9](?:[-_]*[a-zA-Z0-9]+)*")
_RESTART: Final = re.compile(r"(no|always|unless-stopped|on-failure)(?::(\d{1,9}))?")
_CONDITIONS: Final = {
    "none": RestartCondition.NONE,
    "on-failure": RestartCondition.ON_FAILURE,
    "any": RestartCondition.ANY,
    "no": RestartCondition.NONE,
    "always": RestartCondition.ANY,
    "unless-stopped": RestartCondition.ANY,
}
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def service_spec(key: str, item: Marked, tree: Marked, context: Context) -> ServiceSpec:
    """The specification of the service `key`; raises ComposeError with its first problem."""
    name = f"{context.stack}_{key}"
    if not _NAME.fullmatch(key) or len(name) > SERVICE_NAME_LENGTH_MAX:
        raise item.error(
            f"'{name}' cannot be a service's name: it is a name in DNS, so use at most "
            f"{SERVICE_NAME_LENGTH_MAX} letters, digits, - and _"
        )
    if not item.at("image").text:
        raise item.error("image is missing: a swarm runs images and builds none")
    deploy = item.at("deploy")
    mode = _mode(deploy)
    return ServiceSpec(
        name=name,
        labels={**context.labels(deploy.at("labels")), IMAGE_LABEL: item.at("image").text},
        task=TaskSpec(
            container=container_spec(item, tree, context),
            resources=_resources(item, context),
            restart=_job_restart(item, context) if mode.is_job else _restart(item, context),
            placement=_placement(item),
            networks=service_networks(key, item, tree, context),
            log_driver=item.at("logging", "driver").text,
            log_options=item.at("logging", "options").text_entries,
            stop_after_seconds=_on_partition(deploy.at("x-on-partition")),
        ),
        mode=mode,
        replicas=_replicas(item),
        update=_update(deploy.at("update_config")),
        rollback=_update(deploy.at("rollback_config")),
        endpoint=_endpoint(item),
        reschedule_after_seconds=seconds(deploy.at("x-reschedule-after"), 0.0),
    )


def seconds(item: Marked, default: float) -> float:
    """A duration that the schema has checked, or the default."""
    return duration_seconds(item.text) if item.text else default


def _on_partition(item: Marked) -> float:
    try:
        return on_partition(item.text or "keep")
    except ValueError as error:
        raise item.error(f"must be keep or stop-after=DURATION, not '{item.text}'") from error


def _mode(deploy: Marked) -> ServiceMode:
    word = deploy.at("mode").text or "replicated"
    mode = next(mode for mode in ServiceMode if mode.word == word)
    for name in ("update_config", "rollback_config"):
        if mode.is_job and not deploy.at(name).absent:
            raise deploy.at(name).error("a job is not updated task by task: it begins anew")
    return mode


def _replicas(item: Marked) -> int:
    wanted = item.at("deploy", "replicas")
    if wanted.absent:
        wanted = item.at("scale")
    mode = item.at("deploy", "mode").text
    if not wanted.absent and mode in ("global", "global-job"):
        raise wanted.error(f"a {mode} service runs once on every node and has no replicas")
    return wanted.whole(1)


def _resources(item: Marked, context: Context) -> ResourceRequirements:
    limits = item.at("deploy", "resources", "limits")
    reserved = item.at("deploy", "resources", "reservations")

    def either(preferred: Marked, old: str) -> Marked:
        other = item.at(old)
        if not preferred.absent and not other.absent:
            context.warn(other, f"ignored: {preferred.path} says it too")
        return other if preferred.absent else preferred

    cpus = either(limits.at("cpus"), "cpus").text
    memory = either(limits.at("memory"), "mem_limit").text
    memory_reserved = either(reserved.at("memory"), "mem_reservation").text
    # Docker writes "no limit" as -1 in some places and as 0 in others.
    pids = max(0, either(limits.at("pids"), "pids_limit").whole())
    generic = tuple(map(_generic, reserved.at("generic_resources").items))
    return ResourceRequirements(
        limits=Resources(
            nano_cpus=nano_cpus(cpus or "0"), memory_bytes=size_bytes(memory or "0"), pids=pids
        ),
        reservations=Resources(
            nano_cpus=nano_cpus(reserved.at("cpus").text or "0"),
            memory_bytes=size_bytes(memory_reserved or "0"),
            generic=generic,
        ),
        memory_swap=_memory_swap(item, size_bytes(memory or "0")),
    )


def _memory_swap(item: Marked, memory_bytes: int) -> MemorySwap | None:
    """`memswap_limit` counts memory and swap together; -1 is swap without end."""
    total, swappiness = item.at("memswap_limit"), item.at("mem_swappiness")
    if total.absent and swappiness.absent:
        return None
    wanted = swap_bytes(total.text or "0")
    if wanted > 0 and not memory_bytes <= wanted:
        raise total.error("counts memory and swap together, and is less than the memory limit")
    if wanted and not memory_bytes:
        raise total.error("needs a memory limit: deploy.resources.limits.memory")
    swap = wanted - memory_bytes if wanted > 0 else wanted
    return MemorySwap(swap_bytes=swap, swappiness=swappiness.whole(-1))


def _generic(item: Marked) -> GenericResource:
    spec = item.at("discrete_resource_spec")
    try:
        return requested(f"{spec.at('kind').text}={spec.at('value').whole()}")
    except InvalidArgument as error:
        raise item.error(error.message) from error


def _restart(item: Marked, context: Context) -> RestartPolicy:
    """The policy under deploy; without one, `restart:` in the words of a single host."""
    default = RestartPolicy()
    old, policy = item.at("restart"), item.at("deploy", "restart_policy")
    match = _RESTART.fullmatch(old.text)
    if not old.absent and (not match or (match[2] and match[1] != "on-failure")):
        raise old.error(
            f"must be no, always, unless-stopped, on-failure or on-failure:COUNT, not '{old.text}'"
        )
    if policy.absent:
        if not match:
            return default
        condition = _CONDITIONS.get(match[1], RestartCondition.ON_FAILURE)
        return RestartPolicy(condition=condition, max_attempts=int(match[2] or 0))
    if match:
        context.warn(old, f"ignored: {policy.path} says it too")
    return RestartPolicy(
        condition=_CONDITIONS[policy.at("condition").text or "any"],
        delay_seconds=seconds(policy.at("delay"), default.delay_seconds),
        max_attempts=policy.at("max_attempts").whole(),
        window_seconds=seconds(policy.at("window"), default.window_seconds),
    )


def _job_restart(item: Marked, context: Context) -> RestartPolicy:
    """The same for a job, where on-failure is the default, and what completed is not run again."""
    old, condition = item.at("restart"), item.at("deploy", "restart_policy", "condition")
    policy = _restart(item, context)
    said = condition if not item.at("deploy", "restart_policy").absent else old
    if said.absent:
        return replace(policy, condition=RestartCondition.ON_FAILURE)
    if policy.condition == RestartCondition.ANY:
        raise said.error(f"a job is restarted on-failure or not at all, not '{said.text}'")
    return policy


def _placement(item: Marked) -> Placement:
    placement = item.at("deploy", "placement")
    spread = []
    for preference in placement.at("preferences").items:
        if not preference.at("spread").text:
            raise preference.error("spread is missing: name what to spread over")
        spread.append(preference.at("spread").text)
    return Placement(
        constraints=tuple(sorted(placement.at("constraints").texts)),
        spread=tuple(spread),
        platforms=_platforms(item.at("platform")),
        max_replicas=placement.at("max_replicas_per_node").whole(),
    )


def _platforms(item: Marked) -> tuple[Platform, ...]:
    if not item.text:
        return ()
    system, _, architecture = item.text.partition("/")
    if not system or not architecture:
        raise item.error(f"must be a system and an architecture: linux/amd64, not '{item.text}'")
    architecture = architecture.partition("/")[0]
    known = _ARCHITECTURES.get(architecture, architecture)
    return (Platform(os=system, architecture=known),)


def _update(item: Marked) -> UpdateConfig:
    default = UpdateConfig()
    failure_action = item.at("failure_action").text or "pause"
    order = item.at("order").text or "stop-first"
    return UpdateConfig(
        parallelism=item.at("parallelism").whole(default.parallelism),
        delay_seconds=seconds(item.at("delay"), default.delay_seconds),
        failure_action=FailureAction[failure_action.upper()],
        monitor_seconds=seconds(item.at("monitor"), default.monitor_seconds),
        max_failure_ratio=item.at("max_failure_ratio").number(default.max_failure_ratio),
        order=UpdateOrder[order.upper().replace("-", "_")],
        progress_deadline_seconds=seconds(
            item.at("x-progress-deadline"), default.progress_deadline_seconds
        ),
    )


def _endpoint(item: Marked) -> EndpointSpec:
    mode = ResolutionMode[(item.at("deploy", "endpoint_mode").text or "vip").upper()]
    ports: list[PortConfig] = []
    taken: set[tuple[int, Protocol]] = set()
    for port in item.at("ports").items:
        made = PortConfig(
            name=port.at("name").text,
            protocol=Protocol[port.at("protocol").text.upper()],
            target_port=port.at("target").whole(),
            published_port=port.at("published").whole(),
            publish_mode=PublishMode[port.at("mode").text.upper()],
        )
        if mode == ResolutionMode.DNSRR and made.publish_mode == PublishMode.INGRESS:
            raise port.error("a service with endpoint_mode dnsrr has no ingress: use mode: host")
        if made.published_port and (made.published_port, made.protocol) in taken:
            raise port.error(f"the port {made.published_port} is published twice")
        taken.add((made.published_port, made.protocol))
        ports.append(made)
    ports.sort(key=lambda p: (p.published_port, p.protocol, p.target_port))
    return EndpointSpec(mode=mode, ports=tuple(ports))
