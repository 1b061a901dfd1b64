"""What one node must know: its tasks, and the secrets and configs that they use.

A node gets a task from ASSIGNED on and keeps it until the task's record is gone, ended ones
included: their logs are still asked for. Secrets and configs are sent only while a task that can
still run refers to them, logins for registries only until its image is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pyswarm.model import (
    Config,
    RegistryCredential,
    Secret,
    Task,
    TaskState,
    Volume,
    is_terminal,
)
from pyswarm.registry.logins import chosen

TaskKey = tuple[int, float, int, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAssignments:
    """Everything for one node, by id."""

    tasks: dict[str, Task] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)
    configs: dict[str, Config] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    credentials: dict[str, RegistryCredential] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentDiff:
    """What turns what a node knows into what it must know; removals are sorted ids."""

    tasks: tuple[Task, ...] = ()
    secrets: tuple[Secret, ...] = ()
    configs: tuple[Config, ...] = ()
    volumes: tuple[Volume, ...] = ()
    removed_tasks: tuple[str, ...] = ()
    removed_secrets: tuple[str, ...] = ()
    removed_configs: tuple[str, ...] = ()
    removed_volumes: tuple[str, ...] = ()
    credentials: tuple[RegistryCredential, ...] = ()
    removed_credentials: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(
            (
                self.tasks,
                self.secrets,
                self.configs,
                self.volumes,
                self.removed_tasks,
                self.removed_secrets,
                self.removed_configs,
                self.removed_volumes,
                self.credentials,
                self.removed_credentials,
            )
        )


@dataclass(slots=True)
class Sent:
    """What a session has sent so far, as keys that tell when to send again."""

    tasks: dict[str, TaskKey] = field(default_factory=dict)
    secrets: dict[str, int] = field(default_factory=dict)
    configs: dict[str, int] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    credentials: dict[str, int] = field(default_factory=dict)


def _task_key(task: Task) -> TaskKey:
    # The agent writes the status itself, so a change of status is no news to it.
    # A live rotation changes which secrets and configs it refers to, and nothing else.
    container = task.spec.container
    files = tuple(r.id for r in (*container.secrets, *container.configs))
    return (int(task.desired_state), task.start_after, task.spec_version, files)


def may_run(task: Task) -> bool:
    """Whether the task can still need its secrets."""
    return task.is_wanted and not is_terminal(task.status.state)


def is_for_node(task: Task) -> bool:
    """Whether an agent must hear of the task."""
    return task.status.state >= TaskState.ASSIGNED


def is_news(old: Task | None, new: Task | None) -> bool:
    """Whether a change of a task may be news to its node: most are what the node said itself."""
    return _told(old) != _told(new)


def _told(task: Task | None) -> tuple[TaskKey, int] | None:
    if task is None or not is_for_node(task):
        return None
    # With its image it needs no login any more, while it runs it may have to stop, and an end
    # takes away its networks and secrets.
    state = task.status.state
    steps = (state >= TaskState.READY, state >= TaskState.RUNNING, is_terminal(state))
    return _task_key(task), sum(steps)


def references(tasks: Iterable[Task]) -> tuple[set[str], set[str]]:
    """The ids of the secrets and configs that these tasks need."""
    secrets: set[str] = set()
    configs: set[str] = set()
    for task in tasks:
        if may_run(task):
            secrets |= {reference.id for reference in task.spec.container.secrets}
            configs |= {reference.id for reference in task.spec.container.configs}
    return secrets, configs


def pull_credentials(
    tasks: Iterable[Task], known: Sequence[RegistryCredential]
) -> dict[str, RegistryCredential]:
    """The logins, by id, with which a node pulls the images of those tasks that have none yet."""
    pulling = [t for t in tasks if may_run(t) and t.status.state < TaskState.READY] if known else []
    found = (chosen(t.spec.container.image, t.service_id, known) for t in pulling)
    return {each.id: each for each in found if each is not None}


def diff(sent: Sent, wanted: NodeAssignments) -> AssignmentDiff:
    """The news for a node, and `sent` brought up to date with it."""
    tasks = {task_id: _task_key(task) for task_id, task in wanted.tasks.items()}
    secrets = {key: secret.meta.version for key, secret in wanted.secrets.items()}
    configs = {key: config.meta.version for key, config in wanted.configs.items()}
    credentials = {key: each.meta.version for key, each in wanted.credentials.items()}
    news = AssignmentDiff(
        tasks=tuple(wanted.tasks[k] for k in sorted(tasks) if sent.tasks.get(k) != tasks[k]),
        secrets=tuple(
            wanted.secrets[k] for k in sorted(secrets) if sent.secrets.get(k) != secrets[k]
        ),
        configs=tuple(
            wanted.configs[k] for k in sorted(configs) if sent.configs.get(k) != configs[k]
        ),
        removed_tasks=tuple(sorted(sent.tasks.keys() - tasks.keys())),
        removed_secrets=tuple(sorted(sent.secrets.keys() - secrets.keys())),
        removed_configs=tuple(sorted(sent.configs.keys() - configs.keys())),
        volumes=tuple(v for k, v in sorted(wanted.volumes.items()) if sent.volumes.get(k) != v),
        removed_volumes=tuple(sorted(sent.volumes.keys() - wanted.volumes.keys())),
        credentials=tuple(
            wanted.credentials[k]
            for k in sorted(credentials)
            if sent.credentials.get(k) != credentials[k]
        ),
        removed_credentials=tuple(sorted(sent.credentials.keys() - credentials.keys())),
    )
    sent.volumes = wanted.volumes
    sent.tasks, sent.secrets, sent.configs = tasks, secrets, configs
    sent.credentials = credentials
    return news
