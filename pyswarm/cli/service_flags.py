"""`service create` and `service update`: flags to a specification. Pure.

Every flag of `create` has its counterpart in `update`: single values are replaced, lists are
edited with `--X-add` and `--X-rm`.
"""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from pyswarm.cli.health_flags import edited_healthcheck
from pyswarm.cli.pairs import file_reference, key_values, mount, port, split_fields
from pyswarm.cli.update_flags import add_policy_flags, policy
from pyswarm.compose.values import duration_seconds, nano_cpus, on_partition, size_bytes
from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    ContainerSpec,
    EndpointSpec,
    NetworkAttachmentConfig,
    Placement,
    ResolutionMode,
    Resources,
    RestartCondition,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    Ulimit,
)

Item = TypeVar("Item")
Record = TypeVar("Record")


def _typed(read: Callable[[str], Any], what: str) -> Callable[[str], Any]:
    """A reader for argparse whose error names what was expected."""

    def parse(text: str) -> Any:
        return read(text)

    parse.__name__ = what  # argparse shows this in "invalid X value"
    return parse


def _boolean(text: str) -> bool:
    words = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]


DURATION = _typed(duration_seconds, "duration")
SIZE = _typed(size_bytes, "size")
ON_PARTITION = _typed(on_partition, "keep|stop-after=DURATION")
CPUS = _typed(nano_cpus, "cpus")
SWITCH = _typed(_boolean, "true/false")

_SINGLE: tuple[tuple[str, Callable[[str], Any] | None, str], ...] = (
    ("replicas", int, "Number of tasks"),
    (
        "max-concurrent",
        int,
        "Number of job tasks to run concurrently (default equal to --replicas)",
    ),
    ("replicas-max-per-node", int, "Maximum number of tasks per node (default 0 = unlimited)"),
    ("entrypoint", None, "Overwrite the default ENTRYPOINT of the image"),
    ("workdir", None, "Working directory inside the container"),
    ("user", None, "Username or UID (format: <name|uid>[:<group|gid>])"),
    ("hostname", None, "Container hostname"),
    ("stop-signal", None, "Signal to stop the container"),
    ("stop-grace-period", DURATION, "Time to wait before force killing a container (10s)"),
    ("limit-cpu", CPUS, "Limit CPUs"),
    ("limit-memory", SIZE, "Limit Memory"),
    ("limit-pids", int, "Limit maximum number of processes"),
    ("reserve-cpu", CPUS, "Reserve CPUs"),
    ("reserve-memory", SIZE, "Reserve Memory"),
    ("restart-condition", None, 'Restart when condition is met ("none", "on-failure", "any")'),
    ("restart-delay", DURATION, "Delay between restart attempts (5s)"),
    ("restart-max-attempts", int, "Maximum number of restarts before giving up"),
    ("restart-window", DURATION, "Window used to evaluate the restart policy"),
    (
        "reschedule-after",
        DURATION,
        "How long to wait for a lost node before its tasks are replaced (0s)",
    ),
    (
        "on-partition",
        ON_PARTITION,
        'What a node without a manager does with a task ("keep", "stop-after=DURATION")',
    ),
    ("endpoint-mode", None, "Endpoint mode (vip or dnsrr)"),
    ("health-cmd", None, "Command to run to check health"),
    ("health-interval", DURATION, "Time between running the check"),
    ("health-timeout", DURATION, "Maximum time to allow one check to run"),
    ("health-start-period", DURATION, "Start period before retries count"),
    ("health-retries", int, "Consecutive failures needed to report unhealthy"),
    ("health-start-interval", DURATION, "Time between running the check during the start period"),
    ("log-driver", None, "Logging driver for service"),
)
_SWITCHES = (
    ("tty", "Allocate a pseudo-TTY"),
    ("read-only", "Mount the container's root filesystem as read only"),
    ("init", "Use an init inside each service container"),
)
_LISTS = (
    ("env", "-e", "Set environment variables"),
    ("label", "-l", "Service labels"),
    ("container-label", None, "Container labels"),
    ("constraint", None, "Placement constraints"),
    ("placement-pref", None, "Placement preference (spread=node.labels.X)"),
    ("publish", "-p", "Publish a port as a node port"),
    ("network", None, "Network attachments"),
    ("secret", None, "Specify secrets to expose to the service"),
    ("config", None, "Specify configurations to expose to the service"),
    ("mount", None, "Attach a filesystem mount to the service"),
    ("host", None, "Custom host-to-IP mappings (host:ip)"),
    ("dns", None, "Custom DNS servers"),
    ("dns-search", None, "Custom DNS search domains"),
    ("dns-option", None, "DNS options"),
    ("cap-add", None, "Add Linux capabilities"),
    ("cap-drop", None, "Drop Linux capabilities"),
    ("sysctl", None, "Sysctl options"),
    ("ulimit", None, "Ulimit options"),
    ("group", None, "Supplementary user groups for the container"),
    ("log-opt", None, "Logging driver options"),
)
_NOT_EDITED = {"cap-add", "cap-drop", "log-opt"}


def add_create_flags(parser: ArgumentParser) -> None:
    """The flags of `service create`."""
    parser.add_argument("--name", default="", help="Service name")
    parser.add_argument(
        "--mode",
        default="replicated",
        help='Service mode ("replicated", "global", "replicated-job", "global-job")',
    )
    parser.add_argument("--env-file", action="append", default=[], help="Read in a file of KEY=V")
    _add_single(parser)
    for name, short, text in _LISTS:
        flags = [f"--{name}", *([short] if short else [])]
        parser.add_argument(*flags, action="append", default=[], help=text)


def add_update_flags(parser: ArgumentParser) -> None:
    """The flags of `service update`."""
    parser.add_argument("--image", help="Service image tag")
    parser.add_argument("--args", help="Service command args")
    parser.add_argument("--force", action="store_true", help="Update even if nothing changed")
    parser.add_argument("--rollback", action="store_true", help="Back to the previous spec")
    _add_single(parser)
    for name, _, text in _LISTS:
        if name in _NOT_EDITED:
            parser.add_argument(f"--{name}", action="append", default=[], help=text)
            continue
        parser.add_argument(f"--{name}-add", action="append", default=[], help=text)
        parser.add_argument(
            f"--{name}-rm", action="append", default=[], help=f"Remove: {text.lower()}"
        )


def _add_single(parser: ArgumentParser) -> None:
    text = "Disable any container-specified HEALTHCHECK"
    parser.add_argument("--no-healthcheck", action="store_true", help=text)
    add_policy_flags(parser)
    for name, read, text in _SINGLE:
        options: dict[str, Any] = {"help": text}
        if read is not None:
            options["type"] = read
        parser.add_argument(f"--{name}", **options)
    for name, text in _SWITCHES:
        parser.add_argument(
            f"--{name}",
            nargs="?",
            const=True,
            type=SWITCH,
            help=text,
        )


def _choice(kind: type[Any], text: str, flag: str) -> Any:
    word = text.replace("-", "_").upper()
    if word not in kind.__members__:
        known = ", ".join(name.replace("_", "-").lower() for name in kind.__members__)
        raise InvalidArgument(f'invalid argument "{text}" for "--{flag}": use one of {known}')
    return kind[word]


def _set(record: Record, args: Namespace, flags: Mapping[str, str]) -> Record:
    """`record` with each field replaced whose flag was given."""
    given = {
        field: value
        for field, flag in flags.items()
        if (value := getattr(args, flag.replace("-", "_"))) is not None
    }
    return replace(record, **given)  # type: ignore[type-var]


def _edited(
    args: Namespace,
    name: str,
    old: Iterable[Item],
    read: Callable[[str], Item],
    key: Callable[[Item], Any],
    removed: Callable[[str], Any] = lambda text: text,
) -> tuple[Item, ...]:
    """A list after `--X` (create), or `--X-add` and `--X-rm` (update); a later item of the same
    key takes the place of an earlier one."""
    attribute = name.replace("-", "_")
    gone = {removed(text) for text in getattr(args, attribute + "_rm", [])}
    items = {key(item): item for item in old if key(item) not in gone}
    for text in [*getattr(args, attribute + "_add", []), *(getattr(args, attribute, None) or [])]:
        item = read(text)
        items[key(item)] = item
    return tuple(items.values())


def _edited_map(args: Namespace, name: str, old: Mapping[str, str]) -> dict[str, str]:
    pairs = _edited(args, name, old.items(), lambda t: key_values(t), lambda pair: pair[0])
    return dict(pairs)


def _text(value: str) -> str:
    return value


def _environment(text: str) -> str:
    return text


def _container(args: Namespace, old: ContainerSpec) -> ContainerSpec:
    new = _set(
        old,
        args,
        {
            "workdir": "workdir",
            "user": "user",
            "hostname": "hostname",
            "stop_signal": "stop-signal",
            "stop_grace_period_seconds": "stop-grace-period",
            "tty": "tty",
            "read_only": "read-only",
            "init": "init",
        },
    )
    if args.entrypoint is not None:
        new = replace(new, command=tuple(shlex.split(args.entrypoint)))
    return replace(
        new,
        env=_edited(args, "env", old.env, _environment, lambda e: e.partition("=")[0]),
        labels=_edited_map(args, "container-label", old.labels),
        secrets=_edited(args, "secret", old.secrets, file_reference, lambda r: r.name),
        configs=_edited(args, "config", old.configs, file_reference, lambda r: r.name),
        mounts=_edited(args, "mount", old.mounts, mount, lambda m: m.target),
        hosts=_edited(args, "host", old.hosts, _host_line, _text, _host_line),
        dns_nameservers=_edited(args, "dns", old.dns_nameservers, _text, _text),
        dns_search=_edited(args, "dns-search", old.dns_search, _text, _text),
        dns_options=_edited(args, "dns-option", old.dns_options, _text, _text),
        groups=_edited(args, "group", old.groups, _text, _text),
        capability_add=_edited(args, "cap-add", old.capability_add, _text, _text),
        capability_drop=_edited(args, "cap-drop", old.capability_drop, _text, _text),
        sysctls=_edited_map(args, "sysctl", old.sysctls),
        ulimits=_edited(args, "ulimit", old.ulimits, _ulimit, lambda u: u.name),
        healthcheck=edited_healthcheck(args, old.healthcheck),
    )


def _host_line(text: str) -> str:
    name, colon, address = text.partition(":")
    if not colon or not address:
        raise InvalidArgument(f'bad format for add-host: "{text}", use host:ip')
    return f"{address} {name}"


def _ulimit(text: str) -> Ulimit:
    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    try:
        return Ulimit(name=name, soft=int(soft), hard=int(hard or soft))
    except ValueError as error:
        raise InvalidArgument(f"ulimit '{text}' is not of the form name=soft[:hard]") from error


def _network(text: str) -> NetworkAttachmentConfig:
    if "=" not in text:
        return NetworkAttachmentConfig(target=text)
    fields = split_fields(text, {"name", "alias"}, "network", repeated={"alias"})
    return NetworkAttachmentConfig(
        target="".join(fields.get("name", [])), aliases=tuple(fields.get("alias", []))
    )


def _placement(args: Namespace, old: Placement) -> Placement:
    def preference(text: str) -> str:
        strategy, _, descriptor = text.partition("=")
        if strategy != "spread" or not descriptor:
            raise InvalidArgument(
                f"placement preference '{text}' is not of the form spread=node.labels.NAME"
            )
        return descriptor

    placement = _set(old, args, {"max_replicas": "replicas-max-per-node"})
    return replace(
        placement,
        constraints=_edited(args, "constraint", old.constraints, _text, _text),
        spread=_edited(args, "placement-pref", old.spread, preference, _text, preference),
    )


def _restart(args: Namespace, old: RestartPolicy) -> RestartPolicy:
    policy = _set(
        old,
        args,
        {
            "delay_seconds": "restart-delay",
            "max_attempts": "restart-max-attempts",
            "window_seconds": "restart-window",
        },
    )
    if args.restart_condition is not None:
        condition = _choice(RestartCondition, args.restart_condition, "restart-condition")
        policy = replace(policy, condition=condition)
    return policy


def _task(args: Namespace, old: TaskSpec) -> TaskSpec:
    limits = _set(
        old.resources.limits,
        args,
        {"nano_cpus": "limit-cpu", "memory_bytes": "limit-memory", "pids": "limit-pids"},
    )
    reserve: Resources = _set(
        old.resources.reservations,
        args,
        {"nano_cpus": "reserve-cpu", "memory_bytes": "reserve-memory"},
    )
    task = _set(old, args, {"log_driver": "log-driver", "stop_after_seconds": "on-partition"})
    return replace(
        task,
        container=_container(args, old.container),
        resources=replace(old.resources, limits=limits, reservations=reserve),
        restart=_restart(args, old.restart),
        placement=_placement(args, old.placement),
        networks=_edited(args, "network", old.networks, _network, lambda n: n.target),
        log_options=_edited_map(args, "log-opt", old.log_options),
    )


def _endpoint(args: Namespace, old: EndpointSpec) -> EndpointSpec:
    mode = old.mode
    if args.endpoint_mode is not None:
        mode = _choice(ResolutionMode, args.endpoint_mode, "endpoint-mode")
    return EndpointSpec(
        mode=mode,
        ports=_edited(
            args,
            "publish",
            old.ports,
            port,
            lambda p: (p.target_port, p.protocol),
            lambda text: (port(text).target_port, port(text).protocol),
        ),
    )


def _edit(args: Namespace, old: ServiceSpec) -> ServiceSpec:
    return replace(
        _set(
            old,
            args,
            {
                "replicas": "replicas",
                "max_concurrent": "max-concurrent",
                "reschedule_after_seconds": "reschedule-after",
            },
        ),
        labels=_edited_map(args, "label", old.labels),
        task=_task(args, old.task),
        update=policy(args, "update", old.update),
        rollback=policy(args, "rollback", old.rollback),
        endpoint=_endpoint(args, old.endpoint),
    )


def _check_mode(args: Namespace, mode: ServiceMode) -> None:
    if mode.is_global and args.replicas is not None:
        raise InvalidArgument("replicas can only be used with replicated or replicated-job mode")
    if mode.is_global and args.replicas_max_per_node is not None:
        raise InvalidArgument(
            "replicas-max-per-node can only be used with replicated or replicated-job mode"
        )
    if args.max_concurrent is not None and mode != ServiceMode.REPLICATED_JOB:
        raise InvalidArgument("max-concurrent can only be used with replicated-job mode")
    if not mode.is_job:
        return
    updating = sorted(
        name
        for name, value in vars(args).items()
        if name.startswith(("update_", "rollback_")) and value is not None
    )
    if updating:
        flag = updating[0].replace("_", "-")
        raise InvalidArgument(f"--{flag} can only be used with replicated or global mode")


def _blank(name: str, mode: ServiceMode) -> ServiceSpec:
    spec = ServiceSpec(name=name, mode=mode)
    if mode.is_job:
        restart = RestartPolicy(condition=RestartCondition.ON_FAILURE)
        spec = replace(spec, task=replace(spec.task, restart=restart))
    return spec


def create_spec(args: Namespace, name: str) -> ServiceSpec:
    """The specification of `service create`; `args` has `image` and `command` too."""
    mode = _choice(ServiceMode, args.mode, "mode")
    _check_mode(args, mode)
    spec = _edit(args, _blank(args.name or name, mode))
    container = replace(spec.task.container, image=args.image, args=tuple(args.command))
    return replace(spec, task=replace(spec.task, container=container))


def update_spec(args: Namespace, old: ServiceSpec) -> ServiceSpec:
    """The specification after `service update`."""
    _check_mode(args, old.mode)
    spec = _edit(args, old)
    container = spec.task.container
    if args.image is not None:
        container = replace(container, image=args.image)
    if args.args is not None:
        container = replace(container, args=tuple(shlex.split(args.args)))
    force = spec.task.force_update + (1 if args.force else 0)
    return replace(spec, task=replace(spec.task, container=container, force_update=force))
