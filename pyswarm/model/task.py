"""Tasks: the unit of everything. Created once, placed once, moving forward only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from pyswarm.model.health import TaskHealth
from pyswarm.model.meta import Meta
from pyswarm.model.network import NetworkAttachmentConfig, PortConfig
from pyswarm.model.resources import GenericResource, Platform, ResourceRequirements
from pyswarm.model.states import TaskState


class MountType(IntEnum):
    """Where the content of a mount comes from."""

    BIND = 0
    VOLUME = 1
    TMPFS = 2


class MountRecursion(IntEnum):
    """What a bind does with the mounts below its source: takes them along (ENABLED), leaves them
    (DISABLED), takes them along writable or read-only where the bind is read-only."""

    ENABLED = 0
    DISABLED = 1
    WRITABLE = 2
    READONLY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount in a container; `source` is a host path, a volume's name or empty."""

    type: MountType = MountType.VOLUME
    source: str = ""
    target: str = ""
    read_only: bool = False
    propagation: str = ""
    no_copy: bool = False
    tmpfs_size_bytes: int = 0
    tmpfs_mode: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    recursion: MountRecursion = MountRecursion.ENABLED
    driver: str = ""
    driver_options: Mapping[str, str] = field(default_factory=dict)
    """With `labels`: of the volume, where this mount is what makes it."""

    @property
    def is_named_volume(self) -> bool:
        """Whether it shows a volume that outlives its task."""
        return self.type is MountType.VOLUME and bool(self.source)


class Follow(IntEnum):
    """How a service follows when a secret or config is rotated: as the rotation says, always by an
    update, always by new files in running containers, or not at all."""

    AS_ROTATED = 0
    UPDATE = 1
    LIVE = 2
    NEVER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReference:
    """A secret or config shown to a container as a file; a relative target is in /run/secrets
    for secrets and in / for configs. `mode` is the permission bits. `signal` goes to the container
    after a live rotation; empty is that of the rotation."""

    id: str = ""
    name: str = ""
    target: str = ""
    uid: str = "0"
    gid: str = "0"
    mode: int = 0o444
    follow: Follow = Follow.AS_ROTATED
    signal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ulimit:
    """One resource limit in setrlimit's words, `name` without its RLIMIT_ prefix, lower case."""

    name: str = ""
    soft: int = 0
    hard: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """How to tell that a container works; `test` as in Docker: ["CMD", ...] or ["NONE"]. What is
    0 or empty is the image's, and where that has nothing either, the default."""

    test: tuple[str, ...] = ()
    interval_seconds: float = 0.0
    timeout_seconds: float = 0.0
    start_period_seconds: float = 0.0
    retries: int = 0
    start_interval_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """What runs. `command` replaces the image's entrypoint, `args` its command."""

    image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    hostname: str = ""
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    init: bool = False
    tty: bool = False
    read_only: bool = False
    stop_signal: str = ""
    stop_grace_period_seconds: float = 10.0
    mounts: tuple[Mount, ...] = ()
    secrets: tuple[FileReference, ...] = ()
    configs: tuple[FileReference, ...] = ()
    hosts: tuple[str, ...] = ()
    """Extra lines of /etc/hosts, as in Docker's API: "address name [name...]"."""
    dns_nameservers: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    healthcheck: Healthcheck | None = None
    sysctls: Mapping[str, str] = field(default_factory=dict)
    capability_add: tuple[str, ...] = ()
    capability_drop: tuple[str, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int = 0


class RestartCondition(IntEnum):
    """When a task that ended is replaced."""

    NONE = 0
    ON_FAILURE = 1
    ANY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """`max_attempts` 0 is without end; `window_seconds` 0 counts over the whole life."""

    condition: RestartCondition = RestartCondition.ANY
    delay_seconds: float = 5.0
    max_attempts: int = 0
    window_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where tasks may go: constraints such as `node.role==manager`, spread descriptors such as
    `node.labels.zone` in order, at most `max_replicas` on a node (0: no limit)."""

    constraints: tuple[str, ...] = ()
    spread: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()
    max_replicas: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """Everything that a task is made from; the tasks of one spec version share one object.

    A node without contact to a manager for `stop_after_seconds` stops the task (0: it keeps it).
    """

    container: ContainerSpec = ContainerSpec()
    resources: ResourceRequirements = ResourceRequirements()
    restart: RestartPolicy = RestartPolicy()
    placement: Placement = Placement()
    networks: tuple[NetworkAttachmentConfig, ...] = ()
    log_driver: str = ""
    log_options: Mapping[str, str] = field(default_factory=dict)
    force_update: int = 0
    stop_after_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatus:
    """What was last seen of a task. `message` names the step, `error` says what went wrong.

    `timestamp` is in seconds since the epoch; `exit_code` counts where `container_id` is set.
    """

    state: TaskState = TaskState.NEW
    timestamp: float = 0.0
    message: str = ""
    error: str = ""
    container_id: str = ""
    pid: int = 0
    exit_code: int = 0
    ports: tuple[PortConfig, ...] = ()
    health: TaskHealth | None = None
    """None where the container has no health check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkAttachment:
    """A task's place in a network: `address` is "10.0.1.2/24"."""

    network_id: str = ""
    address: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One attempt to run one container of a service.

    `slot` counts from 1 in a replicated service; 0 in a global one, whose slot is its node.
    """

    id: str = ""
    meta: Meta = Meta()
    service_id: str = ""
    service_name: str = ""
    service_labels: Mapping[str, str] = field(default_factory=dict)
    slot: int = 0
    node_id: str = ""
    spec: TaskSpec = TaskSpec()
    spec_version: int = 0
    desired_state: TaskState = TaskState.RUNNING
    status: TaskStatus = TaskStatus()
    networks: tuple[NetworkAttachment, ...] = ()
    ports: tuple[PortConfig, ...] = ()
    """The service's host-mode ports, for the scheduler and the agent."""
    start_after: float = 0.0
    """Since the epoch: a replacement is not started before its restart delay is over."""
    job_iteration: int = 0
    quick_ends: int = 0
    """Tasks of this spec that ended soon, one after the other in this slot, before this one."""

    generic_resources: tuple[GenericResource, ...] = ()
    """What the scheduler gave it of its node's."""

    @property
    def is_wanted(self) -> bool:
        """Whether it shall run, now or later; a job's task, until it has completed."""
        return self.desired_state <= TaskState.COMPLETE

    @property
    def name(self) -> str:
        """`service.slot.id`, or `service.node.id` for a global service, as in Docker."""
        return f"{self.service_name}.{self.slot or self.node_id}.{self.id}"

    @property
    def slot_key(self) -> tuple[str, int | str]:
        """The slot that the task fills: the service with its number or with its node."""
        return (self.service_id, self.slot or self.node_id)
